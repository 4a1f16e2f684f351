"""A checked request for images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, Unpack, cast

from torch import Tensor

from dar.checks import positive
from dar.errors import DARError
from dar.generation.layout import Layout, kept_prefix, layout_prefix
from dar.generation.memory import BatchSize, image_memory, packed_bytes, settled_batch_size
from dar.generation.settings import DRAFTS, GenerationSettings, GivenSettings
from dar.prior import PriorConfig
from dar.prior.classes import Classes
from dar.randomness import Generators, Seed, chosen_seeds
from dar.tokenizer import SequentialDiffusionTokenizer


class Settings(GivenSettings, total=False):
    """The keyword arguments of ``DARPipeline.stream``, explained there."""

    seed: Seed
    generator: Generators | None
    layout: Layout | Sequence[Layout] | None
    layout_tokens: int | None
    kept_tokens: Tensor | Sequence[int] | None


def keywords(settings: GenerationSettings, **others: Unpack[Settings]) -> Settings:
    """Join all settings and some other arguments as keywords."""
    return cast(Settings, {**settings.values(), **others})


@dataclass(frozen=True)
class Request:
    """B images to generate.

    Attributes:
        indices: B classes.
        class_names: their B names.
        seeds: B seeds.
        settings: how to sample; the number of steps is known.
        prefix: B x P tokens to keep, int64, or None.
        batch_size: how many to compute at a time.
    """

    indices: list[int]
    class_names: list[str]
    seeds: list[int]
    settings: GenerationSettings
    prefix: Tensor | None
    batch_size: int

    def __len__(self) -> int:
        return len(self.indices)

    def batches(self) -> Iterator[Self]:
        """Split the request into batches of at most ``batch_size`` images."""
        return (self._part(slice(start, start + self.batch_size)) for start in range(0, len(self), self.batch_size))

    def _part(self, rows: slice) -> Self:
        return replace(
            self,
            indices=self.indices[rows],
            class_names=self.class_names[rows],
            seeds=self.seeds[rows],
            prefix=None if self.prefix is None else self.prefix[rows],
        )


def make_request(
    tokenizer: SequentialDiffusionTokenizer,
    prior: PriorConfig,
    own: GenerationSettings,
    classes: Classes,
    given: Settings,
    images_per_class: int = 1,
    batch_size: BatchSize = None,
) -> Request:
    """Check all that was asked for.

    Args:
        tokenizer: of the model; encodes layouts.
        prior: knows the classes.
        own: the model's own settings, for those that are not given.
        classes: see ``DARPipeline.stream``, as for what is given.
        given: keywords.
        images_per_class: images of each class, one after the other.
        batch_size: images to compute at a time; see ``BatchSize``.

    Raises:
        DARError: for anything that cannot be, such as a batch that does not fit into memory.
    """
    copies = positive("num_images_per_prompt", images_per_class)
    settings = own.replaced(_settings_in(given)).resolved(tokenizer.config)
    wanted = prior.class_indices(classes)
    seeds = chosen_seeds(given.get("seed"), given.get("generator"), len(wanted) * copies)
    size = fitting_batch_size(tokenizer, prior, settings, given, batch_size, len(wanted) * copies)
    prefix = layout_prefix(tokenizer, given.get("layout"), given.get("layout_tokens"), len(wanted))
    kept = given.get("kept_tokens")
    if kept is not None and len(kept):
        if prefix is not None:
            raise DARError("a layout and tokens to keep were both given: leave one out")
        prefix = kept_prefix(tokenizer.config, kept, len(wanted))
    if prefix is not None and settings.sampler == DRAFTS:
        raise DARError("the sampler 'drafts' cannot keep the tokens of a layout: take 'sequential'")
    indices = [index for index in wanted for _ in range(copies)]
    return Request(
        indices,
        [prior.class_names[index] for index in indices],
        seeds,
        settings,
        None if prefix is None else prefix.repeat_interleave(copies, dim=0),
        size,
    )


def fitting_batch_size(
    tokenizer: SequentialDiffusionTokenizer,
    prior: PriorConfig,
    settings: GenerationSettings,
    given: Settings,
    batch_size: BatchSize,
    images: int,
) -> int:
    """Settle how many images are computed at a time; arguments as of ``make_request``.

    Raises:
        DARError: if so many do not fit into memory, or there is no such number.
    """
    scales = settings.guidance_scale.scales(prior.num_tokens)
    keeps_tokens = given.get("layout") is not None or given.get("kept_tokens") is not None
    guided = any(scale != 1 for scale in scales)
    memory = image_memory(tokenizer.config, prior, tokenizer.dtype, guided=guided, keeps_tokens=keeps_tokens)
    packed = packed_bytes(tokenizer.config, prior, tokenizer.dtype) if tokenizer.device.type == "cpu" else 0
    return settled_batch_size(batch_size, images, memory.peak, tokenizer.device, packed)


def _settings_in(given: Mapping[str, Any]) -> GivenSettings:
    names = GivenSettings.__optional_keys__
    return cast(GivenSettings, {name: value for name, value in given.items() if name in names})
