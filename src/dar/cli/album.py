"""Files that ``dar generate`` writes: pictures as they come, then sheets and a record."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dar.files import write_json
from dar.images import check_finite, save_animation, save_image
from dar.reconstruction import groups_named
from dar.sheets import captioned_grid, display_scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from dar.cli.generation_plan import Plan
    from dar.generation.provenance import Provenance
    from dar.generation.results import Preview

SHEET, STRIP, ANIMATION, RECORD = "sheet.png", "previews.png", "previews.gif", "generation.json"

MOST_ON_SHEET, MOST_ANIMATED = 400, 40
"""Images that a person looks at on one sheet, and in one animation."""


class Album:
    """Writes each picture as soon as it is finished.

    Args:
        plan: all of them.
        out: the folder.
        metadata: whether each picture's file describes how it was made.
    """

    def __init__(self, plan: "Plan", out: Path, *, metadata: bool) -> None:
        self.plan, self.out, self.metadata = plan, out, metadata
        self.made: list[Provenance] = []
        self._shown: dict[int, Image.Image] = {}
        self._places = set(plan.places(MOST_ON_SHEET))

    def add(self, preview: "Preview") -> None:
        """Write the next batch, all of it even if Ctrl-C comes meanwhile.

        Raises:
            DARError: if the model gave something else than numbers; none of the batch is then written.
            KeyboardInterrupt: if it came, after that.
        """
        check_finite(preview.pixels)
        interrupted = False
        kept = self.plan.layout_tokens or len(self.plan.settings.get("kept_tokens") or ())
        for image, tokens in zip(preview.images, preview.tokens[:, :kept].tolist(), strict=True):
            place = len(self.made)
            made = replace(self.plan.images[place], kept_tokens=tuple(tokens))
            try:
                self._write(image, place, made)
            except KeyboardInterrupt:
                interrupted = True
                self._write(image, place, made)
            self.made.append(made)
            if place in self._places:
                self._shown[place] = image
        if interrupted:
            raise KeyboardInterrupt

    def _write(self, image: "Image.Image", place: int, made: "Provenance") -> None:
        save_image(image, self.out / self.plan.file(place), made.texts() if self.metadata else None)

    def write_sheet(self) -> str:
        """Draw the pictures on one sheet; returns what to say of it."""
        places = list(self._shown)
        save_image(self.plan.sheet(places, [self._shown[i] for i in places]), self.out / SHEET)
        return str(self.out / SHEET) + (f" of {len(places)} of them" if len(places) < len(self.made) else "")

    def write_record(self) -> None:
        """Write all settings, and the class and seed of each picture."""
        settings = self.made[0].record()
        for of_one in ("class_name", "class_index", "seed"):
            del settings[of_one]
        images = [
            {"file": self.plan.file(i), "class": one.class_name, "seed": one.seed} for i, one in enumerate(self.made)
        ]
        layout = {"layout": str(self.plan.layout) if self.plan.layout else None}
        write_json(
            self.out / RECORD, {**settings, **layout, "layout_tokens": self.plan.layout_tokens, "images": images}
        )


class Journey:
    """Keeps some images as they look after each step.

    Args:
        plan: all images.
        tokens_per_group: of the model.
    """

    def __init__(self, plan: "Plan", tokens_per_group: int) -> None:
        self.plan, self.tokens_per_group = plan, tokens_per_group
        self._stages: dict[int, list[Image.Image]] = {place: [] for place in plan.places(MOST_ANIMATED)}
        self._headings: dict[int, str] = {}

    def add(self, start: int, preview: "Preview") -> None:
        """Take in a batch, of which image ``start`` is the first, after a step."""
        self._headings[preview.step] = groups_named(preview.tokens.shape[1] // self.tokens_per_group)
        for place in self._stages.keys() & range(start, start + len(preview.pixels)):
            self._stages[place].append(preview.images[place - start])

    def write_strip(self, path: Path) -> None:
        """Draw a row an image, the first of each class, and a column a step."""
        places = [place for place in self.plan.places(MOST_ANIMATED, 1) if place in self._finished()]
        reference = self.plan.reference
        before = [] if reference is None else [reference]
        rows = [[*before, *self._stages[place]] for place in places]
        names = [f"{self.plan.images[i].class_name}, seed {self.plan.images[i].seed}" for i in places]
        columns = [*[self.plan.reference_caption] * len(before), *self._columns()]
        save_image(
            captioned_grid(rows, row_names=names, column_names=columns, scale=display_scale(rows[0][0].width)), path
        )

    def write_animation(self, path: Path) -> None:
        """Write a sheet that sharpens, a frame a step."""
        places = self._finished()
        stages = zip(*(self._stages[place] for place in places), strict=True)
        frames = [
            self.plan.sheet(places, pictures, heading)
            for pictures, heading in zip(stages, self._columns(), strict=True)
        ]
        save_animation(frames, path)

    def _finished(self) -> list[int]:
        """Places of the images kept that are finished; others were interrupted."""
        return [place for place, stages in self._stages.items() if len(stages) == len(self._headings)]

    def _columns(self) -> "Sequence[str]":
        """Name each step: by groups, and by its number where some steps have no group of their own."""
        names = [self._headings[step] for step in sorted(self._headings)]
        return names if len(set(names)) == len(names) else [f"step {i}, {name}" for i, name in enumerate(names, 1)]
