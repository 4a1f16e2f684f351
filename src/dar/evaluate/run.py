"""One evaluation from start to end: its clock, the record of its environment, its folder, its report."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from PIL import Image

from dar.environment import run_record
from dar.errors import DARError
from dar.evaluate.feature_store import FEATURES
from dar.locking import owned
from dar.report.files import refuse_report, write_report
from dar.report.report import Report

P = ParamSpec("P")


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found.

    Attributes:
        report: numbers, and all that is needed to judge and repeat them.
        pictures: to show beside it, by caption.
    """

    report: Report
    pictures: Mapping[str, Image.Image]


def with_environment(evaluation: Callable[P, EvaluationResult]) -> Callable[P, EvaluationResult]:
    """Decorate an evaluation to record in its report how many seconds it took, and on what it ran."""

    @wraps(evaluation)
    def timed(*args: P.args, **kwargs: P.kwargs) -> EvaluationResult:
        started = time.monotonic()
        result = evaluation(*args, **kwargs)
        environment = {"seconds": round(time.monotonic() - started, 1), **run_record()}
        return replace(result, report=replace(result.report, environment=environment))

    return timed


def evaluate_into(folder: Path, evaluation: Callable[[], EvaluationResult]) -> EvaluationResult:
    """Run an evaluation and write its report into a folder; features kept there on the way are then removed.

    Args:
        folder: where to; it is made if it isn't there, and may hold what an interrupted evaluation left.
        evaluation: all of it: the report's seconds count whatever it loads or samples.

    Raises:
        DARError: if the folder holds a report already or cannot be written to, if another evaluation is at work in it,
            or if the evaluation fails.
    """
    refuse_report(folder)
    with _owned(folder):
        result = with_environment(evaluation)()
        write_report(result.report, result.pictures, folder)
        shutil.rmtree(folder / FEATURES, ignore_errors=True)
    return result


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Own a folder within the block; it vanishes if it is new and nothing came of it."""
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DARError(f"cannot write to {folder} ({error.strerror}): choose another folder") from error
    try:
        with owned(folder):
            yield
    finally:
        with suppress(OSError):  # something was written
            for one in new:
                one.rmdir()
