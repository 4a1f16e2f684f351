import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dar.errors import DARError
from dar.report.files import PAGE, REPORT, read_report, write_report
from dar.report.report import Estimate, flattened, metric_named, shown
from tests.report import reports


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_report(reports.REPORT, {"a picture": Image.new("RGB", (8, 8))}, tmp_path / "new" / "out")
    assert listing(tmp_path / "new") == ["out", f"out/{PAGE}", f"out/{REPORT}"]
    assert read_report(tmp_path / "new" / "out") == reports.REPORT
    assert read_report(tmp_path / "new" / "out" / REPORT) == reports.REPORT


def test_a_folder_may_hold_other_files(tmp_path: Path) -> None:
    (tmp_path / "samples.npz").touch()
    write_report(reports.REPORT, {}, tmp_path)
    assert listing(tmp_path) == [PAGE, REPORT, "samples.npz"]


@pytest.mark.parametrize("name", [REPORT, PAGE])
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(DARError, match=f"{name} exists already"):
        write_report(reports.REPORT, {}, tmp_path)
    assert listing(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_figure_that_is_no_number_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DARError, match=r"space.fid is not a number"):
        write_report(reports.report(metrics={"space": {"fid": Estimate(float("nan"))}}), {}, tmp_path / "out")
    with pytest.raises(DARError, match=r"protocol.sizes is not finite"):
        write_report(reports.report(protocol={"sizes": [1.0, float("inf")]}), {}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_that_are_no_text_are_written_all_the_same(tmp_path: Path) -> None:
    broken = reports.report(subject={"class": "caf\udce9"})
    write_report(broken, {"caf\udce9": Image.new("RGB", (8, 8))}, tmp_path)
    assert read_report(tmp_path) == broken


def test_a_disk_that_is_full_leaves_nothing(tmp_path: Path) -> None:
    program = f"""
import resource, sys
from pathlib import Path
import numpy as np
from PIL import Image
from dar.errors import DARError
from dar.report.files import write_report
from tests.report.reports import report
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
try:
    write_report(report(curves=()), {{"noise": Image.fromarray(noise)}}, Path({str(tmp_path / "out")!r}))
except DARError as error:
    sys.exit(str(error))
"""
    folders = [str(Path(__file__).parents[2]), *filter(None, sys.path)]
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {folders!r}\n{program}"], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "cannot write" in result.stderr
    assert "Traceback" not in result.stderr
    assert listing(tmp_path) == []


def test_where_there_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(DARError, match=r"report.json does not exist: give a report.json"):
        read_report(tmp_path)
    with pytest.raises(DARError, match=r"gone.json does not exist"):
        read_report(tmp_path / "gone.json")


def test_an_interval_has_two_ends_in_order() -> None:
    with pytest.raises(ValueError, match="a lower and an upper end, or neither"):
        Estimate(1.0, low=0.5)
    with pytest.raises(ValueError, match=r"the value 1.5 does not lie in the interval from 2.0 up to 1.0"):
        Estimate(1.5, 2.0, 1.0)


def test_known_metrics_tell_which_direction_is_better() -> None:
    lower = {"fid", "sfid", "frechet_distance", "rfid", "lpips"}
    higher = {"inception_score", "precision", "recall", "class_accuracy", "psnr", "ssim", "codebook_usage"}
    higher |= {"codebook_perplexity", "layout_similarity", "label_agreement"}
    assert {metric_named(key).better for key in lower} == {"lower"}
    assert {metric_named(key).better for key in higher} == {"higher"}
    unknown = metric_named("own metric")
    assert (unknown.title, unknown.better) == ("own metric", None)


def test_numbers_are_shown_with_as_many_digits_as_count() -> None:
    fid = metric_named("fid")
    assert fid.number(12.345) == "12.35"
    assert fid.number(0) == "0.00"
    assert fid.number(0.001234) == "0.0012"
    assert fid.number(-3) == "-3.00"
    assert fid.number(float("inf")) == "inf"
    assert fid.interval(Estimate(2, 1, 3)) == "1.00 to 3.00"
    assert fid.interval(Estimate(2)) == ""


def test_nested_settings_become_paths() -> None:
    nested = {"a": {"b": {"c": 1}, "empty": {}}, "list": [1, [2]], "parts": [{"x": 1}, 5], "none": None}
    flat = {"a.b.c": 1, "a.empty": {}, "list": [1, [2]], "parts.0.x": 1, "parts.1": 5, "none": None}
    assert flattened(nested) == flat


def test_values_are_shown_as_people_read_them() -> None:
    values = ("plain", True, None, 1.5, ["cat", 2, True], {"a": "é"})
    assert [shown(value) for value in values] == ["plain", "true", "null", "1.5", "cat, 2, true", '{"a": "é"}']
    assert shown("x" * 5000).endswith("… (5000 characters)")
