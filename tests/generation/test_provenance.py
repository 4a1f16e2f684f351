import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dar.errors import DARError
from dar.generation.provenance import KEYWORD, Provenance, read_provenance
from dar.generation.settings import GenerationSettings
from dar.images import save_image

MADE = Provenance(
    model="runs/prior/model",
    tokenizer="a" * 64,
    prior="b" * 64,
    class_name="Müller's \U0001f986",
    class_index=3,
    seed=2**62,
    settings=GenerationSettings(guidance_scale=(1.0, 3.5), temperature=0.9, steps=8, solver="euler"),
    kept_tokens=(5, 0, 31),
)


def saved(path: Path, texts: dict[str, str] | None) -> Path:
    save_image(Image.new("RGB", (4, 4), "red"), path, texts)
    return path


def test_a_picture_tells_how_it_was_made(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", MADE.texts())
    assert read_provenance(path) == MADE
    with Image.open(path) as image:
        assert image.text["Title"] == "Müller's \U0001f986, seed 4611686018427387904"
        assert image.text["Software"].startswith("dar ")
        assert image.getpixel((0, 0)) == (255, 0, 0)


def test_records_hold_the_settings_beside_the_rest() -> None:
    assert list(MADE.record()) == [
        *("model", "tokenizer", "prior", "class_name", "class_index", "seed"),
        *("guidance_scale", "temperature", "top_k", "top_p", "steps", "solver", "sampler"),
        *("dtype", "kept_tokens", "version"),
    ]
    interval = replace(MADE, settings=GenerationSettings(guidance_scale="1:3@2-5", steps=4))
    assert Provenance.from_record(json.loads(json.dumps(interval.record()))) == interval


def test_people_are_told_a_line_each() -> None:
    lines = MADE.lines()
    for line in (
        "seed        4611686018427387904",
        "guidance    1:3.5",
        "tokenizer   aaaaaaaaaaaa",
        "layout      3 tokens kept",
        "top-k       all tokens",
    ):
        assert line in lines
    assert "guidance    2" in replace(MADE, settings=GenerationSettings(guidance_scale=2)).lines()
    assert "layout      its own" in replace(MADE, kept_tokens=()).lines()


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert all("\x1b" not in line for line in replace(MADE, model="\x1b[2Jmodel").lines())


def test_pictures_of_others_tell_nothing(tmp_path: Path) -> None:
    for path in (saved(tmp_path / "a.png", None), saved(tmp_path / "a.jpg", None)):
        with pytest.raises(DARError, match=r"a\.(png|jpg) does not tell how it was made"):
            read_provenance(path)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": "0"},
        {"seed": True},
        {"steps": None},
        {"guidance_scale": [1.0]},
        {"guidance_scale": 3},
        {"kept_tokens": ["a"]},
        {"class_name": 7},
        {"unknown": 1},
    ],
)
def test_damaged_records_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = saved(tmp_path / "a.png", {KEYWORD: json.dumps(MADE.record() | change)})
    with pytest.raises(DARError, match=next(iter(change))):
        read_provenance(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, "nonsense"])
def test_what_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DARError, match="tells wrongly how it was made"):
        read_provenance(saved(tmp_path / "a.png", {KEYWORD: text}))


def test_pictures_of_versions_that_told_no_dtype_were_computed_in_float32(tmp_path: Path) -> None:
    told = replace(MADE, dtype="bfloat16")
    assert "dtype       bfloat16" in told.lines()
    assert read_provenance(saved(tmp_path / "new.png", told.texts())) == told
    record = {name: value for name, value in told.record().items() if name != "dtype"}
    assert read_provenance(saved(tmp_path / "old.png", {KEYWORD: json.dumps(record)})) == MADE


def test_records_without_a_sampler_are_of_the_sequential_one() -> None:
    record = json.loads(json.dumps(MADE.record()))
    del record["sampler"]
    assert Provenance.from_record(record) == MADE
