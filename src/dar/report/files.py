"""Reports on the disk: ``report.json`` for programs, and ``report.html`` for people."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from dar.errors import DARError, quoted
from dar.files import read_text, refuse_existing, writing
from dar.report.page import report_page
from dar.report.report import Report
from dar.report.serialization import from_json, to_json

REPORT = "report.json"
PAGE = "report.html"


def refuse_report(folder: Path) -> None:
    """Make sure that a folder holds no report yet; an evaluation that takes long checks this first.

    Raises:
        DARError: if it does.
    """
    for name in (REPORT, PAGE):
        refuse_existing(folder / name)


def write_report(report: Report, pictures: Mapping[str, Image.Image], folder: Path) -> None:
    """Write a report as ``report.json`` and as the page ``report.html``: both, or neither.

    Args:
        report: what to write.
        pictures: to show on the page, by caption.
        folder: where to; it is made if it isn't there, and may hold other files.

    Raises:
        DARError: if the folder holds a report already or can't be written to, or a metric is not a number.
    """
    refuse_report(folder)
    text, page = to_json(report), report_page(report, pictures)
    # The inner one is put in place first: if this is killed between the two, nothing that was measured is lost.
    with writing(folder / PAGE) as page_aside, writing(folder / REPORT) as json_aside:
        json_aside.write_text(text, encoding="utf-8")
        page_aside.write_text(page, encoding="utf-8", errors="replace")  # names of files may be no text


def read_report(path: Path) -> Report:
    """Read a report.

    Args:
        path: its JSON file, or the folder that holds it.

    Raises:
        DARError: if there is none, or it is damaged, of another version or of another kind.
    """
    file = path / REPORT if path.is_dir() else path
    try:
        return from_json(read_text(file))
    except DARError:
        raise
    except FileNotFoundError:
        raise DARError(f"{file} does not exist: give a report.json, or the folder that an evaluation wrote") from None
    except (OSError, ValueError) as error:
        raise DARError(
            f"{file} cannot be read as a report ({quoted(error)}): "
            "give the report.json that this version of dar evaluate wrote"
        ) from error
