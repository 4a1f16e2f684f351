"""What ``dar generate`` is to make: from its options, or like a picture that it made before."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dar.class_sheet import class_sheet
from dar.errors import DARError
from dar.images import centre_crop, read_image
from dar.provenance import SHOWN_DIGITS, Provenance, read_provenance
from dar.storage import weights_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from dar.pipeline import DARPipeline, Settings


@dataclass(frozen=True)
class Plan:
    """Images to generate, those of a class one after the other.

    Attributes:
        images: how each is made, but for tokens of a layout, which generation finds.
        settings: of all, for the pipeline; without seeds.
        per_class: images of each class.
        layout: file of the picture whose first tokens all keep.
        layout_tokens: how many these are.
        reference: that picture as the model sees it.
        reference_caption: what sheets say of it.
    """

    images: "list[Provenance]"
    settings: "Settings"
    per_class: int = 1
    layout: Path | None = None
    layout_tokens: int | None = None
    reference: "Image.Image | None" = None
    reference_caption: str = ""

    def file(self, place: int) -> str:
        """Name of an image's file."""
        letters = (letter if letter.isalnum() else "-" for letter in self.images[place].class_name.lower())
        return f"{place:04d}-{''.join(letters)}.png"

    def places(self, most: int, each: int | None = None) -> list[int]:
        """Of at most ``most`` images: the first of each class, and at most ``each`` of these."""
        share = max(1, most * self.per_class // len(self.images))
        return [i for i in range(len(self.images)) if i % self.per_class < min(share, each or share)][:most]

    def sheet(self, places: "Sequence[int]", pictures: "Sequence[Image.Image]", heading: str = "") -> "Image.Image":
        """The pictures of some images, with class and seed, after the reference where there is one."""
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
    settings: "Settings",
    layout: Path | None,
    layout_tokens: int | None,
) -> Plan:
    """Images of classes, ``num`` of each; image i uses seed + i.

    Raises:
        DARError: for a class, a setting or a layout that cannot be.
    """
    indices = [pipe.prior.config.class_index(wanted) for wanted in classes for _ in range(num)]
    whole = settings | {"layout": layout, "layout_tokens": layout_tokens}
    pipe.stream(indices[:1], **whole | {"seed": seed})  # checks its arguments at the call
    used = _as_used(pipe, model, settings)
    names = pipe.prior.config.class_names
    images = [replace(used, class_name=names[k], class_index=k, seed=seed + i) for i, k in enumerate(indices)]
    if layout is None:
        return Plan(images, whole, num)
    config = pipe.tokenizer.config
    reference = centre_crop(read_image(layout), config.image_size)
    caption = f"reference, first {layout_tokens} of {config.num_tokens} tokens kept"
    return Plan(images, whole, num, layout, layout_tokens, reference, caption)


def plan_like(pipe: "DARPipeline", model: str | None, picture: Path) -> Plan:
    """One image, made as a picture was.

    Raises:
        DARError: if the picture does not tell how it was made, or another model made it.
    """
    made = read_provenance(picture)
    _check_same_model(pipe, model, picture, made)
    settings: Settings = {
        "guidance_scale": made.guidance_scale,
        "temperature": made.temperature,
        "top_k": made.top_k,
        "top_p": made.top_p,
        "steps": made.steps,
        "solver": made.solver,
        "kept_tokens": made.kept_tokens,
    }
    pipe.stream([made.class_index], **settings | {"seed": made.seed})
    used = _as_used(pipe, model, settings)
    name = pipe.prior.config.class_names[made.class_index]
    return Plan([replace(used, class_name=name, class_index=made.class_index, seed=made.seed)], settings)


def _as_used(pipe: "DARPipeline", model: str | None, settings: "Settings") -> Provenance:
    """The model, and the settings with the values that generation uses; class and seed are to be filled in."""
    scale, hashes = settings["guidance_scale"], _hashes(pipe)
    return Provenance(
        model=model or "bundled",
        tokenizer=hashes["tokenizer"],
        prior=hashes["prior"],
        class_name="",
        class_index=0,
        seed=0,
        guidance_scale=(scale[0], scale[1]) if isinstance(scale, tuple) else (scale, scale),
        temperature=settings["temperature"],
        top_k=settings["top_k"],
        top_p=settings["top_p"],
        steps=settings["steps"] or pipe.tokenizer.config.num_steps,
        solver=settings["solver"],
    )


def _hashes(pipe: "DARPipeline") -> dict[str, str]:
    return {"tokenizer": weights_hash(pipe.tokenizer), "prior": weights_hash(pipe.prior)}


def _check_same_model(pipe: "DARPipeline", model: str | None, picture: Path, made: Provenance) -> None:
    for part, hash_ in _hashes(pipe).items():
        other = getattr(made, part)
        if other != hash_:
            raise DARError(
                f"{picture} was made with the {part} {other[:SHOWN_DIGITS]} of {made.model}, but the {part} of "
                f"{model or 'the bundled model'} is {hash_[:SHOWN_DIGITS]}: give the model that made it as --model"
            )
