"""Options that the commands of ``dar train`` share."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dar.cli import options
from dar.errors import DARError

if TYPE_CHECKING:
    from dar.train.hardware import Hardware
    from dar.train.recipe import TrainingRecipe

Recipe = Annotated[
    str, typer.Option(help="debug, cifar10 (-cpu, -finetune), imagenet256-L (-XL, -XXL), or a YAML file.")
]
Data = Annotated[str, typer.Option(help=options.SOURCES)]
Out = Annotated[Path, typer.Option(help="Run folder; must be new or empty, unless resumed.")]
Validation = Annotated[str | None, typer.Option(help="Held-out images, for pictures and metrics.")]
Init = Annotated[
    str | None, typer.Option(help="Model whose weights to start from (fine-tuning): cifar10, a folder or a Hub id.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in the run folder.")]
Tracker = Annotated[list[str] | None, typer.Option(help="tensorboard or wandb, beside log.jsonl; repeatable.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only estimate sizes, memory and time.")]
On = Annotated[
    str | None, typer.Option("--on", help="With --dry-run: for other hardware, such as h100x8, as published.")
]
Overrides = Annotated[list[str] | None, typer.Argument(help="section.field=value, replacing the recipe's.")]


@dataclass(frozen=True, kw_only=True)
class StartOptions:
    """Options of the start of any training."""

    image_column: options.ImageColumn = ""
    label_column: options.LabelColumn = ""
    resume: Resume = False
    tracker: Tracker = None
    dry_run: DryRun = False
    on: On = None

    def columns(self, section: str) -> list[str]:
        """Choose columns by overrides of a recipe, which keeps its own where nothing is chosen."""
        chosen = {"image_column": self.image_column, "label_column": self.label_column}
        return [f"{section}.{name}={json.dumps(column)}" for name, column in chosen.items() if column]

    def check(self, out: Path) -> None:
        """Check everything that needs no heavy imports.

        Raises:
            DARError: for an unknown tracker or hardware, hardware without --dry-run, or a folder that can't be used.
        """
        from dar.extras import check_trackers
        from dar.train.hardware import split_name
        from dar.train.run_folder import RunFolder

        check_trackers(self.tracker or ())
        if self.on is not None:
            if not self.dry_run:
                raise DARError("--on goes with --dry-run: a training itself runs here")
            split_name(self.on)
        if not self.dry_run:
            RunFolder(out).check(resume=self.resume)

    def hardware(self, processes: int, training: "TrainingRecipe") -> "Hardware":
        """Describe the hardware that --on names, or else this machine."""
        from dar.train.hardware import published, this_machine

        return published(self.on, training.precision) if self.on else this_machine(processes, training.precision)
