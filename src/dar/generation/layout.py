"""Pictures whose first tokens are kept, so that their layout stays while the class changes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dar.checks import whole_number
from dar.errors import DARError
from dar.images import Picture, listed_pictures, square_pixels
from dar.tokenizer import SequentialDiffusionTokenizer, TokenizerConfig

Layout = Picture


def layout_prefix(
    tokenizer: SequentialDiffusionTokenizer,
    layout: Layout | Sequence[Layout] | None,
    layout_tokens: int | None,
    classes: int,
) -> Tensor | None:
    """Encode the pictures whose tokens are kept, for each of a number of classes.

    Args:
        tokenizer: the model.
        layout: a picture for all, or one a class; None for none.
        layout_tokens: how many tokens to keep, 1 to N; goes with ``layout``.
        classes: their number.

    Returns:
        classes x ``layout_tokens``, int64, or None.

    Raises:
        DARError: if one of the two is missing or out of range, or pictures are not as many as classes.
    """
    if (layout is None) != (layout_tokens is None):
        raise DARError("a layout needs both: the picture, and how many of its tokens to keep")
    if layout is None or layout_tokens is None:
        return None
    limit, length = tokenizer.config.num_tokens, whole_number("the number of layout tokens", layout_tokens)
    if not 1 <= length <= limit:
        raise DARError(f"the number of layout tokens must lie between 1 and {limit}, not {length}")
    pictures, is_single = listed_pictures(layout)
    if not is_single and len(pictures) != classes:
        raise DARError(f"{len(pictures)} layouts were given for {classes} images: give one an image, or a single one")
    pixels = square_pixels(pictures, tokenizer.config.image_size, "the layout picture")
    return tokenizer.encode(pixels)[:, :length].expand(classes, -1)


def kept_prefix(config: TokenizerConfig, tokens: Tensor | Sequence[int], classes: int) -> Tensor:
    """Check the tokens to keep, for each of a number of classes.

    Args:
        config: says which tokens there are.
        tokens: numbers, the same for all classes; or classes x P, a row a class.
        classes: their number.

    Returns:
        classes x P, int64.

    Raises:
        DARError: if they are more than an image has, one is no entry of the codebook, or there is not a row a class.
    """
    if isinstance(tokens, Tensor) and tokens.dim() == 2:
        if tokens.is_floating_point() or len(tokens) != classes:
            raise DARError(
                f"tokens to keep must be {classes} rows of whole numbers, not {len(tokens)} of {tokens.dtype}"
            )
        rows = tokens.tolist()
    else:
        rows = [[whole_number("a token to keep", token) for token in tokens]] * classes
    count, numbers = len(rows[0]), {token for row in rows for token in row}
    if numbers and (count > config.num_tokens or not 0 <= min(numbers) <= max(numbers) < config.codebook_size):
        raise DARError(
            f"tokens to keep must be at most {config.num_tokens} numbers from 0 to {config.codebook_size - 1}, "
            f"not {count} from {min(numbers)} to {max(numbers)}"
        )
    return torch.tensor(rows, dtype=torch.int64)
