"""``dar evaluate compare``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dar.cli import checks, options
from dar.errors import DARError


def compare(
    reports: Annotated[list[Path], typer.Argument(help="Two or more report.json, or the folders that hold them.")],
    out: Annotated[Path | None, typer.Option(help="Also write a new .md file of tables, or an .html page.")] = None,
) -> None:
    """Put reports side by side; if they were not measured alike, say in what they differ and stop.

    Example: dar evaluate compare runs/a/report.json runs/b/report.json --out comparison.html
    """
    checks.paths("report", *reports)
    from dar.extras import require_extra
    from dar.files import refuse_existing, writing
    from dar.report.compare import compare_reports
    from dar.report.compare_page import comparison_page
    from dar.report.files import read_report

    if len(reports) < 2:
        raise DARError("one report cannot be compared: give two or more")
    if out:
        if out.suffix not in (".md", ".html"):
            raise DARError(f"{out} is neither an .md nor an .html file: give --out one of these endings")
        refuse_existing(out)
        if out.suffix == ".html":
            require_extra("evaluate")
    read = [read_report(path) for path in reports]
    names = names_of(reports)
    comparison = compare_reports(read, names)
    for line in comparison.text().splitlines():
        options.say(line)
    if out:
        content = comparison.markdown() if out.suffix == ".md" else comparison_page(read, names)
        with writing(out) as aside:
            aside.write_text(content, encoding="utf-8", errors="replace")
        options.say(f"wrote {out}")


def names_of(reports: Sequence[Path]) -> list[str]:
    """Choose short names of reports: the folder's where the file has the usual name; whole paths if need be.

    Raises:
        DARError: if a report is given twice.
    """
    from dar.report.files import REPORT

    files = {(path / REPORT if path.is_dir() else path).resolve() for path in reports}
    if len(files) < len(reports):
        raise DARError("a report cannot be compared with itself: give each only once")
    names = [path.parent.name if path.name == REPORT else path.name.removesuffix(".json") for path in reports]
    return names if all(names) and len(set(names)) == len(names) else [str(path) for path in reports]
