"""What the documentation repeats from the code is still so."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "src").rglob("*.md"),
]


def anchors(page: Path) -> set[str]:
    """What links can name in a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        other = page.parent / file if file else page
        assert other.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(other), f"{page.name} links to {target}"


def test_the_name_tables_are_those_that_conversion_uses() -> None:
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    script = runpy.run_path(str(ROOT / "scripts" / "name_table.py"))
    assert script["filled"](page) == page
    for name in ("encoder_layers.{i}.attention.q.*", "layers.{i}.attention.wqkv.weight"):
        assert f"| `{name}` |" in page


def test_files_that_contributors_are_sent_to_are_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:src|tests|dar)/[\w/.]+)`", page)
    assert len(named) > 10
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "src" / name).exists(), f"CONTRIBUTING.md names {name}"
