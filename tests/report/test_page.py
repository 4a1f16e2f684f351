import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from dar.report.page import MAX_PICTURE_SIDE, report_page
from dar.report.report import Curve, Estimate, Point, Report
from dar.report.serialization import to_json
from tests.report import reports
from tests.report.reports import HOSTILE


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("th", "td"):
            self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data

    def images(self) -> list[tuple[Image.Image, dict[str, str | None]]]:
        """Pictures that the page carries, and the attributes of their tags."""
        found = []
        for tag, attributes in self.tags:
            if tag == "img":
                kind, _, content = (attributes["src"] or "").partition(",")
                assert kind == "data:image/png;base64"
                found.append((Image.open(io.BytesIO(base64.b64decode(content))), attributes))
        return found


def assert_self_contained(page: Page) -> None:
    """No tag runs or loads anything, and every tag is closed."""
    assert not page.open
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form", "a", "svg", "b"}
        assert not [name for name in attributes if name.startswith("on") or name in {"href", "srcset", "style"}]
        assert (attributes.get("src") or "data:").startswith("data:")
    style = re.search(r"<style>(.*?)</style>", page.html, re.DOTALL)
    assert style
    assert not re.search(r"url\(|@import|http", style[1])


def hostile_report() -> Report:
    curve = Curve(HOSTILE, HOSTILE, HOSTILE, (Point(1, 2, HOSTILE), Point(2, 3)), HOSTILE)
    return Report(
        kind=HOSTILE,
        subject={HOSTILE: {"classes": [HOSTILE, "cat"]}},
        protocol={"reference": HOSTILE},
        metrics={HOSTILE: {HOSTILE: Estimate(1.5, 1.0, 2.0)}},
        curves=(curve,),
        environment={"time": HOSTILE},
    )


def test_hostile_text_stays_text() -> None:
    page = Page(report_page(hostile_report(), {HOSTILE: Image.new("RGB", (8, 8))}))
    assert_self_contained(page)
    assert page.text.count(HOSTILE) >= 10
    assert next(attributes["alt"] for _, attributes in page.images()) == HOSTILE


def test_the_page_shows_all_of_the_report() -> None:
    page = Page(report_page(reports.REPORT, {"sample grid": Image.new("RGB", (8, 8)), "worst": Image.new("L", (4, 4))}))
    assert_self_contained(page)
    words = " ".join(page.text.split())
    for part in (
        "Evaluation: generation",
        "Measured 2026-01-02",
        "FID ↓ 12.35 11.90 to 12.80",
        "precision ↑ 0.500 0.450 to 0.550",
        "PSNR ↑ inf dB none",
        "own metric -3.0000 none",
        "↓ lower is better",
        "model.hash " + "9f" * 32,
        "reference.name train",
        "guidance 1.0, 5.0",
        "seconds 12.5",
        "first 1 14.5",
        "sample grid",
    ):
        assert part in words


def test_a_picture_and_the_metrics_come_first() -> None:
    pictures = {"sample grid": Image.new("RGB", (8, 8)), "worst": Image.new("L", (4, 4))}
    html = report_page(reports.REPORT, pictures)
    assert re.findall(r"<h2>(.*?)</h2>", html) == [
        "Picture",
        "Metrics",
        "Curves",
        "More pictures",
        "What was measured",
        "Protocol",
        "Environment",
        "Data",
    ]
    titles = [attributes["alt"] or "" for _, attributes in Page(html).images()]
    assert [title.split(":")[0] for title in titles] == ["sample grid", "PSNR by groups", "other", "worst"]


def test_the_json_within_is_the_report() -> None:
    page = report_page(hostile_report(), {})
    start, end = page.index("<pre>") + len("<pre>"), page.index("</pre>")
    inside = Page(f"<pre>{page[start:end]}</pre>").text
    assert json.loads(inside) == json.loads(to_json(hostile_report()))


def test_what_is_not_there_gets_no_section() -> None:
    page = report_page(Report("samples", {}, {}, {}), {})
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["Data"]


def test_tables_have_headers_and_pictures_have_words() -> None:
    page = Page(report_page(reports.REPORT, {"grid": Image.new("RGB", (8, 8))}))
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in page.tags if tag == "th")
    assert all(attributes["alt"] and attributes["width"] and attributes["height"] for _, attributes in page.images())
    assert ("html", {"lang": "en"}) in page.tags


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "CMYK"])
def test_pictures_of_any_mode_are_carried_whole(mode: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    [(shown, _)] = Page(report_page(Report("samples", {}, {}, {}), {"noise": noise.convert(mode)})).images()
    assert shown.mode == "RGB"
    assert np.array_equal(np.asarray(shown), np.asarray(noise.convert(mode).convert("RGB")))


def test_only_a_huge_picture_is_scaled_down() -> None:
    pictures = {
        "just": Image.new("RGB", (MAX_PICTURE_SIDE, 3), "red"),
        "huge": Image.new("RGB", (2 * MAX_PICTURE_SIDE, 100), "red"),
    }
    page = Page(report_page(Report("samples", {}, {}, {}), pictures))
    (just, _), (huge, attributes) = page.images()
    assert just.size == (MAX_PICTURE_SIDE, 3)
    assert huge.size == (MAX_PICTURE_SIDE, 50)
    assert huge.getpixel((MAX_PICTURE_SIDE // 2, 25)) == (255, 0, 0)
    assert attributes["alt"] == f"huge (scaled down from {2 * MAX_PICTURE_SIDE} x 100 pixels)"
    assert pictures["huge"].size == (2 * MAX_PICTURE_SIDE, 100)
