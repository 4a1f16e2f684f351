"""The page of ``dar demo``, and the commands on it."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dar.pipeline import DARPipeline
from tests.demo.test_page import Page


@pytest.fixture
def model(tmp_path: Path, pipeline: DARPipeline) -> str:
    pipeline.save_pretrained(tmp_path / "my model")
    return str(tmp_path / "my model")


def test_the_commands_on_the_page_make_its_pictures(
    dar, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert dar("demo", "--model", model, "--seed", "7", "--guidance", "1:2", "--out", "page.html") == 0
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.out.splitlines()] == [
        "sampling",
        "classes",
        "layout",
        "reconstruction",
        "page",
    ]
    assert said.out.splitlines()[-1].endswith((tmp_path / "page.html").as_uri())
    assert not said.err

    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    commands = re.findall(r"^dar (?:generate|reconstruct) .*$", page.text, re.MULTILINE)
    assert len(commands) == 1 + (1 + 2 * 2) + 1
    for command in commands:
        assert dar(*shlex.split(command)[1:]) == 0
    shown = page.images()
    assert_alike(shown["great dane, sample 2"], tmp_path / "out" / "classes" / "0004-great-dane.png")
    assert_alike(shown["cat, 0 tokens kept"], tmp_path / "out" / "layout-free" / "0000-cat.png")
    assert_alike(shown["cat, 4 tokens kept"], tmp_path / "out" / "layout-2-4" / "0000-cat.png")
    assert len(list((tmp_path / "out" / "reconstructions").iterdir())) == 3


def assert_alike(shown: Image.Image, file: Path) -> None:
    with Image.open(file) as image:
        assert np.abs(np.asarray(shown).astype(int) - np.asarray(image)).max() <= 1


def test_demo_shows_own_pictures_and_chosen_classes(dar, model: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (30, 20), "red").save(tmp_path / "photos" / "-red.jpg")
    out = tmp_path / "new" / "page.html"
    assert dar("demo", "--model", model, "--images", tmp_path / "photos", "--class", "sea lion", "--out", out) == 0
    page = Page(out.read_text(encoding="utf-8"))
    assert {"-red, original", "sea_lion, sample 1", "reference: -red"} <= set(page.images())
    assert "cat" not in page.text
    assert f"dar reconstruct {tmp_path}/photos/-red.jpg --model" in page.text


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--images", "nowhere"], "there is no folder of pictures at nowhere"),
        (["--images", __file__], "is not a folder"),
        (["--class", "unicorn"], "there is no class"),
        (["--guidance", "much"], "a guidance scale is a number"),
        (["--temperature", "-1"], "temperature must be 0 or more"),
    ],
)
def test_demo_refuses(
    dar, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    assert dar("demo", "--model", model, *options, "--out", tmp_path / "new" / "page.html") == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_demo_does_not_overwrite_unless_told(
    dar, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    out.write_text("mine")
    assert dar("demo", "--model", model, "--out", out) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert dar("demo", "--model", model, "--out", out, "--overwrite") == 0
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
