"""Sampling for evaluation: many images, each a function of the model, the settings, a seed and its index alone.

The unit of work is a chunk of consecutive indices, always computed as one batch, since another batch shape rounds
differently.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dar.dtypes import plain_name
from dar.environment import versions
from dar.errors import DARError
from dar.generation.request import Settings, keywords
from dar.generation.settings import GenerationSettings, GivenSettings
from dar.images import check_finite
from dar.pipeline import DARPipeline
from dar.prior.classes import Class
from dar.randomness import derived_seed, image_seeds

CHUNK = 50
ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "adm": lambda pixels: (pixels + 1) * 127.5,
    "dit": lambda pixels: 127.5 * pixels + 128,
}
"""From [-1, 1] to 0 to 255, where the fraction is then dropped: as ADM's sampler does it, and DiT's and LlamaGen's."""

LABELLINGS = ("random", "balanced")


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """What to sample, and how. ``sample_settings`` fills in a model's own.

    Attributes:
        generation: how each image is generated.
        num: images.
        labels: "random" draws the label of image i from a generator seeded by ``seed`` and i; "balanced" gives image i
            the class i modulo their number.
        classes: indices of the classes to sample, increasing.
        seed: image i uses seed + i, so that sets whose seeds differ by ``num`` or more share no image.
        chunk: images computed as one batch.
        rounding: "adm" drops the fraction of 127.5 (x + 1), "dit" that of 127.5 x + 128; both are cut to 0 to 255.

    Raises:
        DARError: at construction, for a value that cannot be.
    """

    generation: GenerationSettings
    num: int
    labels: str = "random"
    classes: tuple[int, ...]
    seed: int = 0
    chunk: int = CHUNK
    rounding: str = "adm"

    def __post_init__(self) -> None:
        if self.num < 1 or self.chunk < 1:
            raise DARError(f"at least 1 image is needed, in chunks of at least 1, not {self.num} and {self.chunk}")
        if self.rounding not in ROUNDINGS:
            raise DARError(f"there is no rounding {self.rounding!r}: choose one of {', '.join(ROUNDINGS)}")
        if self.labels not in LABELLINGS:
            raise DARError(f"labels cannot be {self.labels!r}: choose one of {', '.join(LABELLINGS)}")
        count = len(self.classes)
        if not count or list(self.classes) != sorted(set(self.classes)):
            raise DARError("the classes to sample must be increasing indices, at least one")
        if self.labels == "balanced" and self.num % count:
            nearest = max(1, round(self.num / count)) * count
            raise DARError(
                f"{self.num} images cannot be balanced over {count} classes: sample {nearest}, or use random labels"
            )
        image_seeds([self.seed, self.seed + self.num - 1], 2)

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.num // self.chunk)

    def indices(self, chunk: int) -> range:
        """Indices of a chunk's images."""
        return range(chunk * self.chunk, min(self.num, (chunk + 1) * self.chunk))

    def label(self, index: int) -> int:
        """Class index of an image."""
        if self.labels == "balanced":
            return self.classes[index % len(self.classes)]
        return self.classes[derived_seed(self.seed, "label", index) % len(self.classes)]

    def stream_keywords(self, first: int) -> Settings:
        """Collect the keywords of ``DARPipeline.stream`` for a batch that starts with the image of index ``first``."""
        return keywords(self.generation, seed=self.seed + first)

    def record(self) -> dict[str, Any]:
        """Collect all settings, as JSON values by name."""
        own = {name: value for name, value in asdict(self).items() if name != "generation"}
        record: dict[str, Any] = json.loads(json.dumps({**self.generation.values(), **own}))
        return record


def sample_settings(
    pipe: DARPipeline,
    given: GivenSettings,
    classes: Sequence[Class] | None = None,
    *,
    num: int,
    labels: str = "random",
    seed: int = 0,
    chunk: int = CHUNK,
    rounding: str = "adm",
) -> SampleSettings:
    """Settle what to sample from a model, with its own settings for those that are not given.

    Args:
        pipe: the model.
        given: see ``GenerationSettings``.
        classes: names or indices of those to sample; None for all.
        num: see ``SampleSettings``, as for the others.
        labels: how each image gets its class.
        seed: of the first image.
        chunk: images computed as one batch.
        rounding: from pixels to uint8.

    Raises:
        DARError: if there is no such class, or a setting cannot be.
    """
    config = pipe.prior.config
    indices = {config.class_index(wanted) for wanted in classes} if classes else range(config.num_classes)
    return SampleSettings(
        generation=pipe.resolved(given),
        num=num,
        labels=labels,
        classes=tuple(sorted(indices)),
        seed=seed,
        chunk=chunk,
        rounding=rounding,
    )


def rounded(pixels_B3HW: Tensor, rounding: str) -> Tensor:
    """Round images in [-1, 1] -> B x H x W x 3, uint8, on the CPU; see ``SampleSettings.rounding``."""
    return ROUNDINGS[rounding](pixels_B3HW.float()).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu()


def sample_chunk(pipe: DARPipeline, settings: SampleSettings, indices: range) -> NDArray[np.uint8]:
    """Generate images of consecutive indices, as one batch: B x H x W x 3."""
    labels = [settings.label(index) for index in indices]
    pixels = pipe(labels, **settings.stream_keywords(indices.start)).pixels
    check_finite(pixels)
    return rounded(pixels, settings.rounding).numpy()


def identity(pipe: DARPipeline, settings: SampleSettings) -> dict[str, Any]:
    """Collect all that the samples depend on, as JSON values."""
    configs = json.dumps([asdict(pipe.tokenizer.config), asdict(pipe.prior.config)], sort_keys=True)
    installed = versions()
    used = replace(settings, generation=settings.generation.resolved(pipe.tokenizer.config))
    return used.record() | {
        **pipe.weights_hashes(),
        "config": hashlib.sha256(configs.encode()).hexdigest(),
        "device": pipe.tokenizer.device.type,
        "dtype": plain_name(pipe.dtype),
        "dar": installed["dar"],
        "torch": installed["torch"],
    }
