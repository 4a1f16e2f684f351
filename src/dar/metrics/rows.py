"""Checks of rows of features."""

import torch
from torch import Tensor

from dar.errors import DARError

_CHUNK = 4096


def check_rows(rows: Tensor, what: str, least: int = 1) -> None:
    """Make sure that ``rows`` is a table of enough finite numbers.

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


def check_sets(samples_ND: Tensor, references_MD: Tensor, neighbours: int, least: int) -> None:
    """Make sure that two sets of features can be compared: N x D and M x D, in balls of some neighbours.

    Raises:
        DARError: if their dimensions differ, no neighbour is to be counted, or one of them has too few rows (of samples
            ``least``), or NaN or infinite numbers.
    """
    if samples_ND.shape[1:] != references_MD.shape[1:]:
        raise DARError(
            f"samples of shape {tuple(samples_ND.shape)} and references of shape {tuple(references_MD.shape)} cannot "
            "be compared: take both from one extractor"
        )
    if neighbours < 1:
        raise DARError(f"at least one neighbour must be counted, not {neighbours}")
    check_rows(samples_ND, "samples", least)
    check_rows(references_MD, "references", least=neighbours + 1)
