"""Reports of whole evaluations, as Python users get them."""

from pathlib import Path

import pytest
from PIL import Image

from dar.environment import run_record
from dar.errors import DARError
from dar.evaluate.feature_store import FEATURES
from dar.evaluate.run import EvaluationResult, evaluate_into, with_environment
from dar.report.files import PAGE, REPORT, read_report
from tests.report.reports import report

BARE = report(environment={})


def evaluation() -> EvaluationResult:
    return EvaluationResult(BARE, {"a picture": Image.new("RGB", (8, 8))})


def test_a_report_tells_how_long_it_took_and_on_what() -> None:
    environment = with_environment(evaluation)().report.environment
    assert list(environment) == ["seconds", *run_record()]
    assert environment["seconds"] >= 0


def test_the_report_is_in_the_folder_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    (folder / FEATURES).mkdir(parents=True)
    result = evaluate_into(folder, evaluation)
    assert read_report(folder) == result.report
    assert sorted(path.name for path in folder.iterdir()) == [PAGE, REPORT]


def test_a_report_that_is_there_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    evaluate_into(tmp_path, evaluation)
    with pytest.raises(DARError, match="exists already"):
        evaluate_into(tmp_path, lambda: pytest.fail("it was evaluated"))


def test_nothing_is_left_of_an_evaluation_that_fails(tmp_path: Path) -> None:
    def fail() -> EvaluationResult:
        raise DARError("no samples")

    with pytest.raises(DARError, match="no samples"):
        evaluate_into(tmp_path / "new" / "out", fail)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DARError, match=r"cannot write to .*file/out .*choose another folder"):
        evaluate_into(tmp_path / "file" / "out", evaluation)
