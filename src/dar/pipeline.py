"""Class label -> tokens -> denoising steps -> previews -> image."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self, TypedDict, Unpack

import torch
from PIL import Image
from torch import Tensor

from dar.errors import DARError
from dar.image_files import decoding
from dar.images import centre_crop, read_image, to_images, to_pixels, to_rgb
from dar.model_folder import PRIOR, TOKENIZER, check_whole, model_folder, part_folder
from dar.nn import check_device
from dar.prior import Prior, PriorConfig
from dar.prior.classes import Classes
from dar.prior.sampling import Guidance, Sampling, generate_tokens, guidance_scales
from dar.randomness import Seed, draw_noise_and_uniforms, image_seeds
from dar.tokenizer import SequentialDiffusionTokenizer, TokenizerConfig
from dar.tokenizer.model import DEFAULT_SOLVER

Layout = Image.Image | str | Path
"""A picture, or the file that holds it."""


@dataclass(frozen=True)
class Preview:
    """What a batch looks like after a denoising step.

    Attributes:
        step: how many steps are done, from 1.
        pixels: B x 3 x H x W in [-1, 1].
        tokens: B x n, int64: the tokens known so far.
        is_final: whether this is the finished batch, and ``tokens`` therefore B x N.
    """

    step: int
    pixels: Tensor
    tokens: Tensor
    is_final: bool

    @cached_property
    def images(self) -> list[Image.Image]:
        """The batch as pictures."""
        return to_images(self.pixels)


@dataclass(frozen=True)
class Generation:
    """A finished batch.

    Attributes:
        images: B pictures.
        tokens: B x N, int64.
    """

    images: list[Image.Image]
    tokens: Tensor


class Settings(TypedDict, total=False):
    """The keyword arguments of ``DARPipeline.stream``, explained there."""

    guidance_scale: Guidance
    seed: Seed
    steps: int | None
    solver: str
    temperature: float
    top_k: int | None
    top_p: float
    layout: Layout | Sequence[Layout] | None
    layout_tokens: int | None


class DARPipeline:
    """A tokenizer and a prior that speak the same tokens.

    Args:
        tokenizer: turns tokens into pixels.
        prior: predicts tokens.

    Raises:
        DARError: if the two disagree on the size of the codebook or the number of tokens.
    """

    def __init__(self, tokenizer: SequentialDiffusionTokenizer, prior: Prior) -> None:
        check_agreement(tokenizer.config, prior.config)
        self.tokenizer = tokenizer.eval()
        self.prior = prior.eval()

    @classmethod
    def from_pretrained(cls, source: str | Path | None = None, *, device: str | torch.device = "cpu") -> Self:
        """Load a model.

        Args:
            source: a folder, a Hub id, or None for the model that the package brings along.
            device: where to put it.

        Raises:
            DARError: if the source is neither, or its files are missing or damaged.
        """
        folder = model_folder(source)
        check_whole(folder)
        tokenizer = SequentialDiffusionTokenizer.from_pretrained(folder / TOKENIZER)
        return cls(tokenizer, Prior.from_pretrained(folder / PRIOR)).to(device)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``tokenizer/`` and ``prior/``, each with config.json and model.safetensors, in the weights' dtype."""
        self.tokenizer.save_pretrained(Path(folder) / TOKENIZER)
        self.prior.save_pretrained(Path(folder) / PRIOR)

    def to(self, device: str | torch.device) -> Self:
        """Move both models; returns the pipeline itself.

        Raises:
            DARError: if there is no such device.
        """
        _move(self.tokenizer, device)
        _move(self.prior, device)
        return self

    def __call__(
        self,
        classes: Classes,
        *,
        callback: Callable[[Preview], None] | None = None,
        **settings: Unpack[Settings],
    ) -> Generation:
        """Generate one image a class: what ``stream`` yields last, to the bit.

        Args:
            classes: B class names or indices.
            callback: called with each preview, the final one included.
            **settings: the other arguments of ``stream``.
        """
        for preview in self.stream(classes, **settings):
            if callback is not None:
                callback(preview)
        return Generation(preview.images, preview.tokens)

    def stream(
        self,
        classes: Classes,
        *,
        guidance_scale: Guidance = 1.0,
        seed: Seed = 0,
        steps: int | None = None,
        solver: str = DEFAULT_SOLVER,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        layout: Layout | Sequence[Layout] | None = None,
        layout_tokens: int | None = None,
    ) -> Iterator[Preview]:
        """Generate one image a class, with a preview after every denoising step.

        A step runs as soon as its token group exists, and a preview costs no further network call.

        The rule of seeds: an image depends on its class, its own seed and the settings alone. With a number, image i
        uses seed + i; with a list, its own entry. So image i of a batch equals the image generated alone with that
        seed, up to the rounding of another batch shape. Streamed and unstreamed images are equal to the bit, since
        both run this code; ``tokenizer.decode(tokens, seed)`` gives them too.

        Args:
            classes: B class names or indices; a tensor or array of indices, too.
            guidance_scale: a constant, or (start, end) for a scale that is linear over the tokens; 1 is unguided.
            seed: see ``dar.randomness.Seed``.
            steps: denoising steps; the tokenizer's default unless told.
            solver: "adams-bashforth-2" or "euler".
            temperature: divides the logits; 0 takes the likeliest token.
            top_k: draw among the k likeliest tokens only.
            top_p: draw among the fewest likeliest tokens whose probabilities reach p.
            layout: a picture whose first tokens are kept, so that its layout stays while the class changes; or one
                picture an image.
            layout_tokens: how many of its tokens to keep, 1 to N; goes with ``layout``.

        Returns:
            An iterator of previews, one a step; the last is the finished batch.

        Raises:
            DARError: at the call, for any argument out of its range.
        """
        config = self.tokenizer.config
        sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
        indices = torch.tensor(self.prior.config.class_indices(classes))
        guidance_scales(guidance_scale, config.num_tokens)
        prefix = self._layout_prefix(layout, layout_tokens, len(indices))
        noise, uniforms = draw_noise_and_uniforms(image_seeds(seed, len(indices)), config.image_size, config.num_tokens)
        columns = generate_tokens(self.prior, indices, uniforms, guidance_scale, sampling, prefix)
        known: list[Tensor] = []
        groups = _groups(columns, config.tokens_per_group, known)
        images = self.tokenizer.denoise(groups, noise, steps, solver)
        return _previews(images, groups, known, config.num_steps if steps is None else steps)

    def _layout_prefix(
        self, layout: Layout | Sequence[Layout] | None, layout_tokens: int | None, count: int
    ) -> Tensor | None:
        if (layout is None) != (layout_tokens is None):
            raise DARError("a layout needs both: the picture, and how many of its tokens to keep")
        if layout is None or layout_tokens is None:
            return None
        limit = self.tokenizer.config.num_tokens
        if not 1 <= layout_tokens <= limit:
            raise DARError(f"the number of layout tokens must lie between 1 and {limit}, not {layout_tokens}")
        layouts = [layout] if isinstance(layout, Layout) else layout
        if layouts is layout and len(layouts) != count:
            raise DARError(f"{len(layouts)} layouts were given for {count} images: give one an image, or a single one")
        pixels = to_pixels([centre_crop(_read_layout(one), self.tokenizer.config.image_size) for one in layouts])
        return self.tokenizer.encode(pixels)[:, :layout_tokens].expand(count, -1)


def check_agreement(tokenizer: TokenizerConfig, prior: PriorConfig) -> None:
    """Make sure that a tokenizer and a prior speak the same tokens.

    Raises:
        DARError: if the two disagree on the size of the codebook or the number of tokens.
    """
    for name in ("codebook_size", "num_tokens"):
        ours, theirs = getattr(tokenizer, name), getattr(prior, name)
        if ours != theirs:
            raise DARError(
                f"the tokenizer's {name} is {ours}, the prior's {theirs}: use a prior trained on this tokenizer"
            )


def _read_layout(layout: Layout) -> Image.Image:
    if not isinstance(layout, Image.Image):
        return read_image(layout)
    with decoding("the layout picture"):  # an opened picture is read only now
        return to_rgb(layout)


def _groups(columns: Iterator[Tensor], size: int, known: list[Tensor]) -> Iterator[Tensor]:
    """Collect columns of B tokens into ``known``; give each group, B x size, as soon as it is whole."""
    for tokens in columns:
        known.append(tokens)
        if len(known) % size == 0:
            yield torch.stack(known[-size:], dim=1)


def _previews(images: Iterator[Tensor], groups: Iterator[Tensor], known: list[Tensor], steps: int) -> Iterator[Preview]:
    """Join what denoising gives after each step with the tokens known by then."""
    for step, pixels in enumerate(images, start=1):
        is_final = step == steps
        if is_final:
            for _ in groups:  # where steps are fewer than groups, denoising has left some to generate
                pass
        yield Preview(step, pixels, torch.stack(known, dim=1), is_final)


def _move(model: torch.nn.Module, device: str | torch.device) -> None:
    check_device(device)
    model.to(device)


def load_tokenizer(
    source: str | Path | None = None, *, device: str | torch.device = "cpu"
) -> SequentialDiffusionTokenizer:
    """The tokenizer of a model, or one saved alone; ``source`` as in ``DARPipeline.from_pretrained``."""
    folder = part_folder(model_folder(source), TOKENIZER)
    tokenizer: SequentialDiffusionTokenizer = SequentialDiffusionTokenizer.from_pretrained(folder)
    _move(tokenizer, device)
    return tokenizer


def load_prior(source: str | Path | None = None) -> Prior:
    """The prior of a model, or one saved alone; ``source`` as in ``DARPipeline.from_pretrained``."""
    prior: Prior = Prior.from_pretrained(part_folder(model_folder(source), PRIOR))
    return prior
