"""Memory that generation takes: predicted for each image of a batch, so that batches can be made to fit."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from dar.checks import positive
from dar.errors import DARError, quoted
from dar.free_memory import free_memory
from dar.prior.config import PriorConfig
from dar.tokenizer.config import TokenizerConfig

BatchSize = int | Literal["auto"] | None
"""Images computed at a time: a number; "auto" for as many as fit, up to a limit; None for all."""

USABLE_SHARE = 0.9
"""Of free memory: some is lost between allocations, and the prediction is no exact one."""

LARGEST_AUTO = {"cpu": 64}
LARGEST_AUTO_ELSEWHERE = 256
"""By device: the most images at a time that "auto" chooses, however much memory there is."""


@dataclass(frozen=True)
class ImageMemory:
    """Bytes that one image of a batch takes while it is generated.

    Attributes:
        prior_cache: keys and values of the prior, for a row without a class too where there is guidance.
        condition_cache: keys and values of the latent decoder, its newest conditions, and what the diffusion decoder's
            blocks keep of all.
        images: noise, states of the solver, previews, all float32.
        drawing: at most, while a token is predicted and drawn; free again while denoising.
        denoising: at most, while the diffusion decoder runs; free again while tokens are drawn.
    """

    prior_cache: int
    condition_cache: int
    images: int
    drawing: int
    denoising: int

    @property
    def peak(self) -> int:
        """The most that there is at one time."""
        return self.prior_cache + self.condition_cache + self.images + max(self.drawing, self.denoising)


def image_memory(
    tokenizer: TokenizerConfig, prior: PriorConfig, dtype: torch.dtype, *, guided: bool, keeps_tokens: bool = False
) -> ImageMemory:
    """Predict the memory of an image; a measured peak lies between half of this and all of it.

    Args:
        tokenizer: its sizes.
        prior: its sizes.
        dtype: of the weights of both.
        guided: whether the prior has a row without a class for each image.
        keeps_tokens: whether first tokens are given, which the prior then reads at once.
    """
    number, rows = dtype.itemsize, 2 if guided else 1
    read_at_once = prior.num_tokens if keeps_tokens else 1
    prior_layer = read_at_once * (3 * prior.mlp_width + 8 * prior.width) * number
    logits = prior.vocab_size * (number + 4)  # as computed, and in float32
    probabilities = prior.codebook_size * 64  # combined logits, sorted and summed up in float32 and float64
    patches = (tokenizer.image_size // tokenizer.decoder_patch_size) ** 2
    channels = patches * tokenizer.decoder_width
    tokens = tokenizer.num_tokens * tokenizer.decoder_width
    seen = tokens if tokenizer.decoder_context == "prefix" else tokens // tokenizer.num_groups
    return ImageMemory(
        prior_cache=rows * 2 * prior.depth * (prior.num_tokens + 1) * prior.width * number,
        condition_cache=number
        * ((2 * tokenizer.latent_decoder_depth + 2) * tokens + 2 * tokenizer.decoder_depth * seen),
        images=12 * 3 * tokenizer.image_size**2 * 4,
        drawing=rows * (prior_layer + logits) + probabilities,
        # modulation 6, the inner layer of the MLP 4 + 4, and 6 that go around them; or queries and keys, turned in
        # float32
        denoising=channels * max(20 * number, 12 * number + 16),
    )


def packed_bytes(tokenizer: TokenizerConfig, prior: PriorConfig, dtype: torch.dtype) -> int:
    """Predict the memory of the packed weights that a CPU computes with, copies made for the first image."""
    layer = 4 * prior.width**2 + 3 * prior.width * prior.mlp_width
    drawing = prior.depth * layer + prior.codebook_size * prior.width
    blocks = 12 * tokenizer.latent_decoder_depth + 26 * tokenizer.decoder_depth  # in squares of the width
    denoising = (blocks + 1) * tokenizer.decoder_width**2
    return (drawing + denoising) * dtype.itemsize


def settled_batch_size(
    wanted: BatchSize, images: int, image_bytes: int, device: torch.device, reserved: int = 0
) -> int:
    """Settle how many images are computed at a time.

    Args:
        wanted: what callers give.
        images: that there are in all.
        image_bytes: that one takes.
        device: where they are computed.
        reserved: bytes that are needed whatever the number.

    Raises:
        DARError: if so many do not fit into the device's free memory, or there is no such number.
    """
    free = free_memory(device)
    fitting = max(0, int(USABLE_SHARE * free) - reserved) // image_bytes
    if wanted == "auto":
        most = max(1, min(fitting, LARGEST_AUTO.get(device.type, LARGEST_AUTO_ELSEWHERE)))
        size = -(-images // -(-images // most))  # batches of one size, nearly
    else:
        size = images if wanted is None else min(_checked(wanted), images)
    if size > fitting:
        needs = "1 image needs" if size == 1 else f"{size} images at a time need"
        raise DARError(
            f"{needs} about {_amount(reserved + size * image_bytes)} of memory, but only {_amount(free)} are free on "
            f"{device}: {_remedy(fitting)}"
        )
    return size


@contextmanager
def wrap_out_of_memory(images: int) -> Iterator[None]:
    """Say what to do where a GPU has less memory than predicted.

    Raises:
        DARError: in place of torch's error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        computed = "1 image" if images == 1 else f"{images} images at a time"
        raise DARError(f"the device ran out of memory with {computed}: {_remedy(images // 2)}") from error


def _checked(size: object) -> int:
    if isinstance(size, str):
        raise DARError(f'batch_size must be a whole number or "auto", not {quoted(repr(size))}')
    return positive("batch_size", size)


def _remedy(fitting: int) -> str:
    if fitting:
        return f"compute at most {fitting} at a time (batch_size)"
    return "free some, or choose another device or a dtype of half the size"


def _amount(number: int) -> str:
    """Format bytes for people."""
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"
