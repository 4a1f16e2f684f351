"""The start of a training: processes, folder, and the checks and reports before anything is spent."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dar.data import DataSummary
from dar.environment import run_record
from dar.errors import DARError
from dar.extras import check_trackers
from dar.locking import owned
from dar.progress import say
from dar.train.distributed import Distributed
from dar.train.fine_tuning import agreed_init
from dar.train.loop import Outcome, fit
from dar.train.recipe import Recipe, TrainingRecipe
from dar.train.recipe_files import read_recipe, save_recipe
from dar.train.run_folder import RunFolder, append_line, read_lines
from dar.train.task import Task

if TYPE_CHECKING:
    from dar.train.classifier_recipe import ClassifierRecipe

T = TypeVar("T")


class Launch:
    """One start of a training, new or resumed: its processes and its folder.

    Creating it checks what can be checked without data; then open the data and ``announce`` it, and fit a task within
    ``begun``.

    Args:
        out: the run's folder; new or empty, unless resumed.
        settings: of the training.
        resume: whether to go on with the run in ``out``.
        init: a model to begin with the weights of; None means random weights, or when resuming, the run's own choice.
        trackers: where the log also goes; see ``dar.train.log.Trackers``.

    Attributes:
        distributed: the processes.
        run: the folder.
        init: the model that the run begins with, or began with when it is resumed; None means random weights.

    Raises:
        DARError: if the batch can't be divided among the processes, a tracker can't be used, or a run is resumed with
            another ``init`` than it was begun with.
    """

    def __init__(
        self,
        out: str | Path,
        settings: TrainingRecipe,
        *,
        resume: bool,
        init: str | Path | None = None,
        trackers: Sequence[str] = (),
    ) -> None:
        self.distributed, self.run = Distributed(), RunFolder(Path(out))
        self.settings, self.resume, self.trackers = settings, resume, trackers
        self.distributed.micro_batches(settings.gradient_accumulation).check_divides(settings.batch_size)
        check_trackers(trackers)
        self.init = agreed_init(self.run, init, resume=resume)
        self._found: dict[str, DataSummary | None] = {}

    def initial(self, load: Callable[[str | None], tuple[T, Iterable[str]]]) -> T:
        """Load what the run begins with, and say so in the main process.

        Args:
            load: gets ``init``, or None where a checkpoint will fill the weights; returns what it loaded and sentences.

        Raises:
            DARError: in all processes, if it does in one.
        """
        begin_with = None if self.run.checkpoints() else self.init
        found, sentences = self.distributed.main_first(lambda: load(begin_with))
        self.say(sentences)
        return found

    def announce(self, **found: DataSummary | None) -> None:
        """Say in the main process what was found of each set of images, by what it is for."""
        self._found = found
        self.say(f"{name}: {summary.sentence()}" for name, summary in found.items() if summary is not None)
        data, validation = found.get("data"), found.get("validation")
        if data and validation and _same_images(data, validation):
            self.say(["the held-out images are the training images themselves"])

    def say(self, sentences: Iterable[str]) -> None:
        """Print sentences in the main process alone."""
        if self.distributed.is_main:
            for sentence in sentences:
                say(sentence)

    @contextmanager
    def begun(self, recipe: "Recipe | ClassifierRecipe", fingerprint: str) -> Iterator[None]:
        """Own the run's folder within the block: make a new one or check an old one; either way it holds the recipe.

        Rates, steps and weights of losses may change when a run is resumed; sizes, seed, batch and which networks train
        may not. Each start adds a line to ``launches.jsonl``: what was run, where, by which version, on which data.

        Args:
            recipe: of this start.
            fingerprint: of the training data.

        Raises:
            DARError: if a new run's folder is not empty, the old run's is none or was begun with other sizes, or
                another training is at work in it.
        """
        images = {name: summary.as_dict() for name, summary in self._found.items() if summary is not None}
        processes = self.distributed.world_size
        record = {"data": fingerprint, "images": images, "processes": processes, "init": self.init}
        with ExitStack() as stack:
            self.distributed.on_main(lambda: _begin(self.run, recipe, record, stack, resume=self.resume))
            yield

    def fit(self, task: Task) -> Outcome:
        """Train a task to its end, or until it is stopped; see ``dar.train.loop.fit``."""
        return fit(task, self.settings, self.run, self.distributed, resume=self.resume, trackers=self.trackers)


def _same_images(one: DataSummary, other: DataSummary) -> bool:
    return Path(one.source).resolve() == Path(other.source).resolve() and one.split == other.split


def _begin(
    run: RunFolder,
    recipe: "Recipe | ClassifierRecipe",
    record: Mapping[str, Any],
    stack: ExitStack,
    *,
    resume: bool,
) -> None:
    if resume:
        run.check(resume=True)
        stack.enter_context(owned(run.path))
        _check_same(run, recipe, record)
        for folder in (run.path, run.path / "checkpoints", run.path / "samples"):
            for left in folder.glob(".*/"):  # a crash in the middle of writing
                shutil.rmtree(left, ignore_errors=True)
    else:
        _make(run.path)
        stack.enter_context(owned(run.path))
        run.create()
    save_recipe(recipe, run.recipe)
    append_line(run.launches, {**run_record(), **record})


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DARError(f"cannot write to {path} ({error.strerror}): choose another output folder") from error


def _check_same(run: RunFolder, recipe: "Recipe | ClassifierRecipe", record: Mapping[str, Any]) -> None:
    """Make sure that the run was begun with the same sizes; say if its data are others."""
    parse: Callable[[Mapping[str, Any]], Recipe | ClassifierRecipe] = type(recipe).from_dict
    before = read_recipe(run.recipe, (), (), parse).fixed_settings()
    changed = [name for name, value in recipe.fixed_settings().items() if before[name] != value]
    if changed:
        raise DARError(f"the run in {run.path} cannot be resumed with another {', '.join(changed)}")
    if any(launch.get("data") != record["data"] for launch in read_lines(run.launches)):
        say("the data is not quite what the run began with (other files, times or place): results may differ")
