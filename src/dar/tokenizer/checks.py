"""Checks of what a tokenizer is given to encode or decode."""

from torch import Tensor

from dar.errors import DARError
from dar.tokenizer.config import TokenizerConfig

PIXEL_TOLERANCE = 1e-3
"""How far pixels may lie outside [-1, 1]: rounding may take them there."""


def check_pixels(pixels: Tensor, config: TokenizerConfig) -> None:
    """Make sure that pixels can be encoded.

    Raises:
        DARError: if they are not floats B x 3 x image_size x image_size, all finite and in [-1, 1].
    """
    size = config.image_size
    if not len(pixels):
        raise DARError("there are no images to encode: give at least one")
    if not pixels.is_floating_point():
        raise DARError(
            f"pixels must be floats in [-1, 1], not {pixels.dtype}: divide 0 to 255 by 127.5 and subtract 1, or "
            "give the pictures themselves, as arrays H x W x 3 or images of Pillow"
        )
    if pixels.dim() != 4 or tuple(pixels.shape[1:]) != (3, size, size):
        raise DARError(f"images must be B x 3 x {size} x {size}, not {' x '.join(map(str, pixels.shape))}")
    if not pixels.isfinite().all():
        raise DARError("images must be finite numbers in [-1, 1]; these hold NaN or infinity")
    low, high = pixels.min().item(), pixels.max().item()
    if max(-low, high) > 1 + PIXEL_TOLERANCE:
        raise DARError(f"pixels must lie in [-1, 1]; these reach from {low:g} to {high:g}: scale them")


def check_tokens(tokens: Tensor, num_tokens: int, config: TokenizerConfig) -> None:
    """Make sure that the first ``num_tokens`` tokens can be decoded.

    Raises:
        DARError: if they are not whole numbers B x N of the codebook, or fewer columns that suffice.
    """
    if not isinstance(tokens, Tensor):
        kind = type(tokens).__name__
        raise DARError(f"tokens must be a tensor B x {config.num_tokens} of whole numbers, not a {kind}")
    if tokens.is_floating_point() or tokens.is_complex():
        raise DARError(f"tokens must be whole numbers, not {tokens.dtype}")
    if tokens.dim() != 2 or not len(tokens) or not num_tokens <= tokens.shape[1] <= config.num_tokens:
        shape = " x ".join(map(str, tokens.shape))
        raise DARError(f"tokens must be B x {config.num_tokens}, and at least {num_tokens} wide, not {shape}")
    if not 0 <= int(tokens.min()) <= int(tokens.max()) < config.codebook_size:
        low, high = int(tokens.min()), int(tokens.max())
        raise DARError(f"tokens must lie in 0 to {config.codebook_size - 1}; these reach from {low} to {high}")
