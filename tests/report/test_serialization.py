import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dar.errors import DARError
from dar.report.files import read_report
from dar.report.report import Curve, Point
from dar.report.serialization import from_json, to_json
from tests.report import reports

CONTENT = json.loads(to_json(reports.REPORT))


def test_json_is_strict_even_where_figures_are_infinite() -> None:
    endless = reports.report(curves=(Curve("t", "x", "y", (Point(float("-inf"), float("inf")),)),))
    text = to_json(endless)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    assert json.loads(text, parse_constant=refuse)["figures"]["inception-2015"]["psnr"]["value"] == "inf"
    assert from_json(text) == endless


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content.pop(name)


def changed(*path: str | int, to: Any) -> Callable[[dict[str, Any]], Any]:
    def change(content: Any) -> None:
        for name in path[:-1]:
            content = content[name]
        content[path[-1]] = to

    return change


FID = ("figures", "inception-2015", "fid")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("dar_report"), "it is none"),
        (changed("dar_report", to=2), "it is of version 2, not 1"),
        *((without(name), f"it lacks {name}") for name in ("kind", "subject", "protocol", "figures", "curves")),
        (changed("more", to=1), "it has more than it should: more"),
        (changed("kind", to=7), "kind is a int, not a str"),
        (changed("subject", to=[]), "subject is a list, not a dict"),
        (changed("figures", "small", to=1.5), "small is a float, not a dict"),
        (changed(*FID, to=12.0), "inception-2015.fid is a float, not a dict"),
        (changed(*FID, to={"value": 1.0}), "inception-2015.fid lacks high, low"),
        (changed(*FID, "value", to=None), "inception-2015.fid holds None where a number should be"),
        (changed(*FID, "value", to="nan"), "inception-2015.fid holds nan where a number should be"),
        (changed(*FID, "value", to=True), "inception-2015.fid holds True where a number should be"),
        (changed(*FID, "value", to=10**400), "it holds a whole number of 401 digits"),
        (changed(*FID, "high", to=None), "a lower and an upper end, or neither"),
        (changed(*FID, "high", to=1.0), "12.3456 does not lie in the interval from 11.9 up to 1.0"),
        (changed("curves", 0, "points", 1, to=[1, 2]), "a point of curve 0 is a list"),
        (changed("curves", 0, "points", 1, "label", to=3), "curve 0 is a int, not a str"),
        (changed("curves", 1, "title", to=None), "curve 1 is a NoneType, not a str"),
    ],
)
def test_what_is_not_as_written_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], Any], said: str) -> None:
    content = copy.deepcopy(CONTENT)
    change(content)
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(DARError) as caught:
        read_report(tmp_path / "a.json")
    assert said in str(caught.value)
    assert "a.json cannot be read as a report" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "{}",
        to_json(reports.REPORT)[:-20],
        to_json(reports.REPORT).replace("12.3456", "NaN"),
        to_json(reports.REPORT).replace("12.3456", "-Infinity"),
        to_json(reports.REPORT).replace("50000", "1e999"),
        to_json(reports.REPORT).replace("50000", "[" * 100_000),
        to_json(reports.REPORT).replace("50000", '{"a":' * 900 + "1" + "}" * 900),
        "\0\ufffd",
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DARError, match=r"a.json cannot be read as a report"):
        read_report(tmp_path / "a.json")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(DARError, match=r"a.json cannot be read as a report"):
        read_report(tmp_path / "a.json")
