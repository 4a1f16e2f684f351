"""All of a demonstration: samples of classes, layout control, reconstructions."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dar.demo.samples import (
    LAYOUT_CLASSES,
    LAYOUTS,
    ORIGINALS,
    SHOWN_CLASSES,
    ClassSamples,
    LayoutSamples,
    Reconstructions,
    class_samples,
    layout_samples,
    originals_in,
    reconstruct_originals,
    samples_as_originals,
    spread,
)
from dar.generation.request import Settings
from dar.pipeline import DARPipeline

CLASSES_FOLDER = Path("out/classes")
"""Where the command that makes the samples of classes puts them, and where those that use them look."""


@dataclass(frozen=True)
class Demo:
    """All pictures of a demonstration.

    Attributes:
        classes: samples of classes, and the way to them.
        layout: samples that keep a layout.
        reconstructions: pictures through the tokenizer and back.
        found: how many pictures there were in the user's folder; None where the originals are samples of the model.
        seconds: that all of this took.
    """

    classes: ClassSamples
    layout: LayoutSamples
    reconstructions: Reconstructions
    found: int | None
    seconds: float


def make_demo(
    pipe: DARPipeline,
    settings: Settings,
    *,
    classes: Sequence[int] | None = None,
    images: Path | None = None,
    seed: int = 0,
    on_section: Callable[[str, int, float], None] = lambda section, count, seconds: None,
) -> Demo:
    """Make all pictures of a demonstration.

    Args:
        pipe: the model.
        settings: guidance and the like.
        classes: indices of those to show; None means ``SHOWN_CLASSES`` at equal distances.
        images: folder of pictures to keep the layout of and to reconstruct; None means samples of the model.
        seed: of the first image of each section.
        on_section: called after each section with its name, how many images it has, and the seconds that they took.

    Raises:
        DARError: if the folder holds no pictures, or one cannot be read; nothing has been computed then.
    """
    started = time.monotonic()
    own, found = (None, None) if images is None else originals_in(images, pipe.tokenizer.config.image_size)
    shown = spread(SHOWN_CLASSES, pipe.prior.config.num_classes) if classes is None else list(classes)

    samples = class_samples(pipe, shown, seed, settings)
    on_section("classes", samples.count, samples.seconds)
    originals = own or samples_as_originals(samples, CLASSES_FOLDER)
    references = originals[-LAYOUTS:]
    layout = layout_samples(pipe, references, _new_classes(shown, own is None), seed, settings)
    on_section("layout control", layout.count, layout.seconds)
    chosen = [originals[i] for i in spread(ORIGINALS, len(originals))]
    reconstructions = reconstruct_originals(pipe, chosen, seed)
    on_section("reconstruction", reconstructions.count, reconstructions.seconds)
    return Demo(samples, layout, reconstructions, found, time.monotonic() - started)


def _new_classes(shown: Sequence[int], references_are_last: bool) -> list[int]:
    """Choose some classes, if possible others than those of the references, which are samples of the last ones."""
    others = (shown[:-LAYOUTS] if references_are_last else shown) or shown
    return [others[i] for i in spread(LAYOUT_CLASSES, len(others))]
