"""The plan of ``dar generate``: from its options, or like a picture that it made before."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dar.class_sheet import class_sheet
from dar.cli.sampling import made_images, print_settings
from dar.errors import DARError
from dar.generation.provenance import SHOWN_DIGITS, Provenance
from dar.generation.request import keywords
from dar.image_files import numbered_names
from dar.images import centre_crop, read_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from dar.generation.memory import BatchSize
    from dar.generation.request import Settings
    from dar.generation.settings import GivenSettings
    from dar.pipeline import DARPipeline


@dataclass(frozen=True)
class Plan:
    """Images to generate, those of a class one after the other.

    Attributes:
        images: how each is made, but for tokens of a layout, which generation finds.
        settings: of all, for the pipeline; without seeds.
        batch_size: images to compute at a time.
        per_class: images of each class.
        layout: file of the picture whose first tokens all keep.
        layout_tokens: how many these are.
        reference: that picture as the model sees it.
        reference_caption: what sheets say of it.
    """

    images: "list[Provenance]"
    settings: "Settings"
    batch_size: int = 1
    per_class: int = 1
    layout: Path | None = None
    layout_tokens: int | None = None
    reference: "Image.Image | None" = None
    reference_caption: str = ""

    def file(self, place: int) -> str:
        """Name of an image's file."""
        return self._files[place]

    @cached_property
    def _files(self) -> list[str]:
        return numbered_names([image.class_name for image in self.images])

    def places(self, most: int, each: int | None = None) -> list[int]:
        """Choose at most ``most`` images: the first of each class, and at most ``each`` of these."""
        share = max(1, most * self.per_class // len(self.images))
        return [i for i in range(len(self.images)) if i % self.per_class < min(share, each or share)][:most]

    def sheet(self, places: "Sequence[int]", pictures: "Sequence[Image.Image]", heading: str = "") -> "Image.Image":
        """Draw some images, with class and seed, after the reference where there is one."""
        made = [self.images[i] for i in places]
        return class_sheet(
            pictures,
            [one.class_name for one in made],
            [f"seed {one.seed}" for one in made],
            reference=self.reference,
            reference_caption=self.reference_caption,
            heading=heading,
        )


def plan_of_options(
    pipe: "DARPipeline",
    model: str | None,
    classes: list[str],
    num: int,
    seed: int,
    given: "GivenSettings",
    layout: Path | None,
    layout_tokens: int | None,
    batch_size: "BatchSize",
) -> Plan:
    """Plan images of classes, ``num`` of each; image i uses seed + i.

    Raises:
        DARError: for a class, a setting or a layout that cannot be, or a batch that does not fit into memory.
    """
    indices = [pipe.prior.config.class_index(wanted) for wanted in classes for _ in range(num)]
    used = pipe.resolved(given)
    settings = keywords(used, layout=layout, layout_tokens=layout_tokens)
    size = pipe.check(indices, batch_size=batch_size, **settings | {"seed": seed})
    print_settings(pipe, given)
    images = made_images(pipe, model, used, indices, seed)
    if layout is None:
        return Plan(images, settings, size, num)
    config = pipe.tokenizer.config
    reference = centre_crop(read_image(layout), config.image_size)
    caption = f"reference, first {layout_tokens} of {config.num_tokens} tokens kept"
    return Plan(images, settings, size, num, layout, layout_tokens, reference, caption)


def plan_like(pipe: "DARPipeline", model: str | None, picture: Path, made: Provenance) -> Plan:
    """Plan one image, made as a picture was.

    Args:
        pipe: the model, in the dtype that made the picture.
        model: what the user called it.
        picture: its file.
        made: what it tells of how it was made.

    Raises:
        DARError: if another model made it.
    """
    _check_same_model(pipe, picture, made)
    settings = keywords(made.settings, kept_tokens=made.kept_tokens)
    pipe.check([made.class_index], **settings | {"seed": made.seed})
    return Plan(made_images(pipe, model, made.settings, [made.class_index], made.seed), settings)


def _check_same_model(pipe: "DARPipeline", picture: Path, made: Provenance) -> None:
    for part, hash_ in pipe.weights_hashes().items():
        other = getattr(made, part)
        if other != hash_:
            raise DARError(
                f"{picture} was made with the {part} {other[:SHOWN_DIGITS]} of {made.model}, but the {part} of "
                f"{pipe.name} is {hash_[:SHOWN_DIGITS]}: give the model that made it as --model"
            )
