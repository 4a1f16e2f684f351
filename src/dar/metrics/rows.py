"""What can be wrong with rows of features."""

import torch
from torch import Tensor

from dar.errors import DARError

_CHUNK = 4096


def check_rows(rows: Tensor, what: str, least: int = 1) -> None:
    """See that ``rows`` is a table of enough finite numbers.

    Args:
        rows: N x D.
        what: the rows are, in the plural, for the message: "samples".
        least: rows needed.

    Raises:
        DARError: if it is not.
    """
    if rows.ndim != 2:
        raise DARError(f"{what} must be a table of one row each, not of shape {tuple(rows.shape)}: flatten them")
    if len(rows) < least:
        raise DARError(f"{len(rows)} {what} are too few: at least {least} are needed")
    finite_N = torch.cat([part.isfinite().all(1) for part in rows.split(_CHUNK)])  # whole, it would double the memory
    if not finite_N.all():
        bad = (~finite_N).nonzero().flatten()
        raise DARError(
            f"{len(bad)} of {len(rows)} {what} hold NaN or infinite numbers, first row {int(bad[0])}: "
            "look at the images or the model that they came from"
        )
