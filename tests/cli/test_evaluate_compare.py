"""``dar evaluate compare`` as people call it."""

from pathlib import Path

import pytest

from dar.report.files import write_report
from tests.cli.test_cli import refused
from tests.report import reports


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reports in a, b and c/a that can be compared, and one in d that can't."""
    out = tmp_path_factory.mktemp("reports")
    for i, name in enumerate(("a", "b", "c/a")):
        write_report(reports.report(subject={"seed": i}, curves=(reports.CURVE,)), {}, out / name)
    write_report(reports.report(protocol=reports.REPORT.protocol | {"num": 10}), {}, out / "d")
    return out


def test_reports_are_put_side_by_side(dar, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dar("evaluate", "compare", folder / "a" / "report.json", folder / "b") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["space", "metric", "better", "a", "b"] in lines
    assert ["seed", "0", "1"] in lines


def test_names_are_whole_paths_where_folders_share_a_name(
    dar, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [folder / "a", folder / "b", folder / "c" / "a" / "report.json"]
    assert dar("evaluate", "compare", *paths) == 0
    assert ["space", "metric", "better", *map(str, paths)] in [
        line.split() for line in capsys.readouterr().out.splitlines()
    ]


@pytest.mark.parametrize(("ending", "begin"), [(".md", "# Comparison: generation"), (".html", "<!DOCTYPE html>")])
def test_a_comparison_is_written_once(
    dar, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str, begin: str
) -> None:
    out = tmp_path / f"comparison{ending}"
    command = ("evaluate", "compare", folder / "a", folder / "b", "--out", out)
    assert dar(*command) == 0
    written = out.read_text(encoding="utf-8")
    assert written.startswith(begin)
    assert "12.35 (11.90 to 12.80)" in written
    assert f"{out} exists already" in refused(dar, capsys, *command)
    assert out.read_text(encoding="utf-8") == written


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a"], "one report cannot be compared"),
        (["a", "a"], "a report cannot be compared with itself"),
        (["a", "nowhere"], "there is no report at"),
        (["a", "d"], "a and d were measured differently, so that they cannot be compared: num is 50000 and 10: "),
        (["a", "b/report.html"], "report.html cannot be read as a report"),
        (["a", "b", "--out", "x.pdf"], "x.pdf is neither an .md nor an .html file"),
    ],
)
def test_compare_refuses_in_one_sentence(
    dar, folder: Path, capsys: pytest.CaptureFixture[str], names: list[str], said: str
) -> None:
    arguments = [name if name == "--out" else folder / name for name in names]
    heard = refused(dar, capsys, "evaluate", "compare", *arguments)
    assert said in heard
    assert heard.count("\n") == 1
    assert not list(folder.glob("x.*"))


def test_help_shows_an_example(dar, capsys: pytest.CaptureFixture[str]) -> None:
    assert dar("evaluate", "compare", "--help") == 0
    assert "dar evaluate compare runs/a/report.json" in " ".join(capsys.readouterr().out.split())


def test_a_page_needs_what_draws_it(
    dar, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dar.extras.find_spec", {"datasets": "there"}.get)
    command = ("evaluate", "compare", folder / "a", folder / "b", "--out")
    assert "this needs matplotlib: pip install" in refused(dar, capsys, *command, tmp_path / "a.html")
    assert dar(*command, tmp_path / "a.md") == 0
