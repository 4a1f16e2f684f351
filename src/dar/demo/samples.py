"""The pictures of a demonstration, section by section, each with the time that it took."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from dar.data.listing import list_folder
from dar.errors import DARError
from dar.generation.request import Settings
from dar.image_files import numbered_names
from dar.images import centre_crop, read_image, to_images, to_pixels
from dar.pipeline import DARPipeline
from dar.reconstruction import reconstructions

SHOWN_CLASSES = 10
PER_CLASS = 3
LAYOUTS = 2
LAYOUT_CLASSES = 3
LAYOUT_GROUPS = (0, 1, 2, 4)
"""Groups of the reference's tokens that are kept, where the model has more of them."""

ORIGINALS = 6
"""Pictures that are reconstructed.

With the numbers above, ten classes make 57 images: 17 s of one core for a model that takes 0.3 s an image.
"""


@dataclass(frozen=True)
class Original:
    """A picture whose layout is kept, or that is reconstructed.

    Attributes:
        name: what to call it.
        image: the square that the model sees.
        file: where commands find it.
    """

    name: str
    image: Image.Image
    file: Path


@dataclass(frozen=True)
class ClassSamples:
    """Samples of classes.

    Attributes:
        classes: indices of the classes.
        names: of the classes.
        rows: for each class, its samples.
        steps: for each denoising step, what it is called, and the first sample of each class after it.
        seconds: that all of this took.
    """

    classes: list[int]
    names: list[str]
    rows: list[list[Image.Image]]
    steps: list[tuple[str, list[Image.Image]]]
    seconds: float

    @property
    def count(self) -> int:
        """How many samples there are."""
        return sum(map(len, self.rows))


@dataclass(frozen=True)
class LayoutSamples:
    """Samples of other classes that keep the first tokens of references.

    Attributes:
        references: whose tokens are kept.
        classes: indices of the other classes.
        names: of the other classes.
        kept: how many tokens are kept, from few to many.
        rows: for each reference and each of these numbers, a sample of each class.
        seconds: that all of this took.
    """

    references: list[Original]
    classes: list[int]
    names: list[str]
    kept: list[int]
    rows: list[list[list[Image.Image]]]
    seconds: float

    @property
    def count(self) -> int:
        """How many samples were drawn; those that keep nothing are the same for all references."""
        return len(self.names) * ((len(self.kept) - 1) * len(self.references) + 1)


@dataclass(frozen=True)
class Reconstructions:
    """Pictures, and what their first groups of tokens decode to.

    Attributes:
        originals: the pictures.
        stages: for 1, 2, ... and all groups, what it is called, and what each original's tokens decode to.
        seconds: that all of this took.
    """

    originals: list[Original]
    stages: list[tuple[str, list[Image.Image]]]
    seconds: float

    @property
    def count(self) -> int:
        """How many pictures were reconstructed."""
        return len(self.originals)


def spread(count: int, total: int) -> list[int]:
    """Choose up to ``count`` of 0 to ``total`` - 1, at equal distances."""
    count = min(count, total)
    return [i * total // count for i in range(count)]


def originals_in(folder: Path, size: int) -> tuple[list[Original], int]:
    """Read some pictures of a folder and of those below it, cut to central squares of ``size`` pixels.

    Returns:
        Up to ``ORIGINALS`` of them, at equal distances, and how many there are.

    Raises:
        DARError: if there is no such folder, no picture in it, or one that cannot be read.
    """
    if not folder.is_dir():
        raise DARError(f"{folder} is not a folder: give one that holds pictures")
    files = [folder.joinpath(*parts) for parts in list_folder(folder).files.get("images", [])]
    if not files:
        raise DARError(f"{folder} holds no pictures: give a folder with PNG or JPEG files")
    chosen = [files[i] for i in spread(ORIGINALS, len(files))]
    return [Original(file.stem, centre_crop(read_image(file), size), file) for file in chosen], len(files)


def samples_as_originals(samples: ClassSamples, folder: Path) -> list[Original]:
    """Take the first sample of each class, in the file that ``dar generate`` writes to ``folder``."""
    names = numbered_names([name for name in samples.names for _ in range(PER_CLASS)])[::PER_CLASS]
    return [
        Original(name, images[0], folder / file)
        for name, images, file in zip(samples.names, samples.rows, names, strict=True)
    ]


def class_samples(pipe: DARPipeline, classes: Sequence[int], seed: int, settings: Settings) -> ClassSamples:
    """Generate ``PER_CLASS`` samples of each class; image i of all uses ``seed`` + i.

    Args:
        pipe: the model.
        classes: their indices.
        seed: of the first image.
        settings: guidance and the like.
    """
    started = time.monotonic()
    wanted = [index for index in classes for _ in range(PER_CLASS)]
    previews = list(pipe.stream(wanted, **settings | {"seed": seed}))
    of_all, images = f"of {pipe.tokenizer.config.num_tokens} tokens", previews[-1].images
    steps = [
        (f"step {one.step} of {len(previews)}, {one.tokens.shape[1]} {of_all}", one.images[::PER_CLASS])
        for one in previews
    ]
    rows = [images[i : i + PER_CLASS] for i in range(0, len(images), PER_CLASS)]
    names = [pipe.prior.config.class_names[index] for index in classes]
    return ClassSamples(list(classes), names, rows, steps, time.monotonic() - started)


def layout_samples(
    pipe: DARPipeline, references: Sequence[Original], classes: Sequence[int], seed: int, settings: Settings
) -> LayoutSamples:
    """Generate each class for each reference and number of kept tokens; class i uses ``seed`` + i.

    Args:
        pipe: the model.
        references: whose layouts to keep.
        classes: indices of the classes.
        seed: of the first class.
        settings: guidance and the like.
    """
    started = time.monotonic()
    config, wanted = pipe.tokenizer.config, list(classes)
    kept = [groups * config.tokens_per_group for groups in LAYOUT_GROUPS if groups < config.num_groups]
    free = pipe(wanted, **settings | {"seed": seed}).images
    rows = [[free] for _ in references]
    for number in kept[1:]:
        images = pipe(
            wanted * len(references),
            **settings
            | {
                "seed": [seed + i for i in range(len(wanted))] * len(references),
                "layout": [reference.image for reference in references for _ in wanted],
                "layout_tokens": number,
            },
        ).images
        for i, of_reference in enumerate(rows):
            of_reference.append(images[i * len(wanted) : (i + 1) * len(wanted)])
    names = [pipe.prior.config.class_names[index] for index in wanted]
    return LayoutSamples(list(references), wanted, names, kept, rows, time.monotonic() - started)


def reconstruct_originals(pipe: DARPipeline, originals: Sequence[Original], seed: int) -> Reconstructions:
    """Decode the first 1, 2, ... and all groups of each picture's tokens; picture i uses ``seed`` + i."""
    started = time.monotonic()
    config, pixels = pipe.tokenizer.config, to_pixels([one.image for one in originals])
    decoded: list[Tensor] = reconstructions(pipe.tokenizer, pixels, seed, pipe.settings.solver)
    stages = [
        (f"{k} of {config.num_groups} groups, {k * config.tokens_per_group} tokens", to_images(pixels))
        for k, pixels in enumerate(decoded, start=1)
    ]
    return Reconstructions(list(originals), stages, time.monotonic() - started)
