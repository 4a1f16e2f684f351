import base64
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from dar.demo.job import Demo, make_demo
from dar.demo.page import SMALL, demo_page, picture_uri
from dar.pipeline import DARPipeline

HOSTILE = '<b onclick="x">&\''
COMMANDS = {"classes": ["dar generate one"], "layout": ["dar a", "dar b"], "reconstructions": [f"dar {HOSTILE}"]}
VOID = {"meta", "img", "input"}


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", list[str]()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, wanted: str) -> Iterator[dict[str, str | None]]:
        return (attributes for tag, attributes in self.tags if tag == wanted)

    def images(self) -> dict[str, Image.Image]:
        """Pictures by what they are described as; of several alike, the last."""
        return {attributes["alt"] or "": opened(attributes["src"] or "") for attributes in self.of("img")}


def opened(address: str) -> Image.Image:
    kind, _, content = address.partition(",")
    assert re.fullmatch("data:image/(png|webp);base64", kind)
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    image.load()
    return image


@pytest.fixture(scope="module")
def demo(pipeline: DARPipeline) -> Demo:
    return make_demo(pipeline, {})


@pytest.fixture(scope="module")
def html(demo: Demo) -> str:
    return demo_page(demo, {"model": HOSTILE}, COMMANDS)


def test_the_page_asks_for_nothing_from_elsewhere(html: str) -> None:
    page = Page(html)
    assert not page.open
    assert "http:" not in html
    assert "https:" not in html
    assert "//" not in re.sub(r"base64,[\w+/=]*", "", html)
    assert {tag for tag, _ in page.tags}.isdisjoint({"link", "iframe", "object", "embed", "base", "a", "b"})
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    [policy] = [one["content"] for one in page.of("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_every_picture_is_there_whole_and_described(html: str, demo: Demo) -> None:
    images = Page(html).images()
    assert {image.size for image in images.values()} == {(16, 16)}
    for name, row in zip(demo.classes.names, demo.classes.rows, strict=True):
        for i, image in enumerate(row, start=1):
            assert images[f"{name}, sample {i}"].tobytes() == image.tobytes()
    for label, column in demo.classes.steps:
        assert images[f"cat, {label}"].tobytes() == column[0].tobytes()
    for label, column in demo.reconstructions.stages:
        assert images[f"great dane, {label}"].tobytes() == column[1].tobytes()
    assert images["cat, 4 tokens kept"].tobytes() == demo.layout.rows[-1][2][0].tobytes()
    assert images["reference: sea_lion"].tobytes() == demo.layout.references[-1].image.tobytes()
    assert images["cat, original"].tobytes() == demo.reconstructions.originals[0].image.tobytes()


def test_sliders_run_from_the_first_stage_to_the_last(html: str) -> None:
    page = Page(html)
    sliders = [one for one in page.of("input") if one["type"] == "range"]
    assert [(one["min"], one["max"], one["value"], one["step"]) for one in sliders] == [("1", "4", "4", "1")] * 2
    assert [one["id"] for one in sliders] == ["steps-slider", "groups-slider"]
    frames = [one for one in page.of("span") if (one.get("class") or "").startswith("frame")]
    assert len(frames) == 2 * 3 * 4  # of two sections, three images, four stages
    assert [one["class"] for one in frames] == (["frame"] * 3 + ["frame shown"]) * 6
    assert [one["data-label"] for one in frames[:4]] == [f"step {k} of 4, {2 * k} of 8 tokens" for k in (1, 2, 3, 4)]


def test_it_tells_times_and_commands_as_text(html: str, demo: Demo) -> None:
    words = " ".join(Page(html).text.split())
    assert f"9 images in {demo.classes.seconds:.1f} s" in words
    assert f"images in {demo.layout.seconds:.1f} s" in words
    assert f"3 pictures in {demo.reconstructions.seconds:.1f} s" in words
    assert f"dar {HOSTILE}" in words
    assert "The command that makes the same dar generate one" in words
    assert "The commands that make the same dar a dar b" in words
    assert "The originals are samples" in words


def test_pictures_of_the_user_are_not_called_samples(pipeline: DARPipeline, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    own = make_demo(pipeline, {}, classes=[1], images=tmp_path)
    words = Page(demo_page(own, {"model": "m"}, COMMANDS)).text
    assert "samples from above" not in words
    assert [one.name for one in own.layout.references] == ["red"]
    assert own.layout.names == ["great dane"]


def test_only_large_pictures_are_compressed() -> None:
    noise = Image.effect_noise((SMALL, SMALL), 80).convert("RGB")
    assert opened(picture_uri(noise)).tobytes() == noise.tobytes()
    assert picture_uri(noise.resize((SMALL + 1, SMALL))).startswith("data:image/webp")
