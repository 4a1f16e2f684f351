"""The command lines that make the pictures of a demonstration."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dar.dtypes import FLOAT32
from dar.errors import DARError

if TYPE_CHECKING:
    from dar.demo.job import Demo
    from dar.demo.samples import LayoutSamples, Original
    from dar.prior import PriorConfig


@dataclass(frozen=True)
class DemoCommands:
    """Writes the commands that make the same pictures, in order: later ones read what the first one writes.

    Attributes:
        config: names of the classes.
        model: as the user named it; None for the bundled one.
        device: where to compute.
        dtype: of the weights.
        seed: of the first image of each command.
        sampling: options that say how to sample.
    """

    config: "PriorConfig"
    model: str | None
    device: str
    dtype: str
    seed: int
    sampling: Sequence[str]

    def by_section(self, demo: "Demo") -> dict[str, list[str]]:
        """Write the lines for "classes", "layout" and "reconstructions"."""
        from dar.demo.job import CLASSES_FOLDER
        from dar.demo.samples import PER_CLASS

        return {
            "classes": [self._generate(demo.classes.classes, CLASSES_FOLDER, ["--num", str(PER_CLASS), "--previews"])],
            "layout": list(self._layout(demo.layout, CLASSES_FOLDER.parent)),
            "reconstructions": [
                self._reconstruct(demo.reconstructions.originals, CLASSES_FOLDER.parent / "reconstructions")
            ],
        }

    def _layout(self, layout: "LayoutSamples", parent: Path) -> Iterable[str]:
        yield self._generate(layout.classes, parent / "layout-free", [])
        for i, reference in enumerate(layout.references, start=1):
            for kept in layout.kept[1:]:
                extra = ["--layout", _name(reference.file), "--layout-tokens", str(kept)]
                yield self._generate(layout.classes, parent / f"layout-{i}-{kept}", extra)

    def _generate(self, classes: Iterable[int], out: Path, extra: Iterable[str]) -> str:
        wanted = [word for index in classes for word in ("--class", self._class(index))]
        return self._line("generate", [*wanted, *extra, *self.sampling], out)

    def _reconstruct(self, originals: Iterable["Original"], out: Path) -> str:
        return self._line("reconstruct", [_name(original.file) for original in originals], out)

    def _line(self, command: str, words: Iterable[str], out: Path) -> str:
        model = ["--model", self.model] if self.model else []
        device = ["--device", self.device] if self.device != "cpu" else []
        dtype = ["--dtype", self.dtype] if self.dtype != FLOAT32 else []
        return shlex.join(
            ["dar", command, *words, *model, "--seed", str(self.seed), *device, *dtype, "--out", str(out)]
        )

    def _class(self, index: int) -> str:
        """Choose a name that means this class, or its index."""
        name = self.config.class_names[index]
        try:
            return name if self.config.class_index(name) == index else str(index)
        except DARError:
            return str(index)


def _name(file: Path) -> str:
    """Write a path so that it cannot be taken for an option."""
    return f"./{file}" if str(file).startswith("-") else str(file)
