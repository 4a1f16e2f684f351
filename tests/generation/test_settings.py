import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from dar.errors import DARError
from dar.generation.settings import SAMPLING, GenerationSettings, GivenSettings, load_settings, save_settings
from dar.prior.guidance import Guidance
from tests import tiny

ALL = GenerationSettings(guidance_scale=(1.0, 8.0), temperature=0.9, top_k=50, top_p=0.95, steps=4, solver="euler")


def test_keywords_are_the_fields() -> None:
    assert GivenSettings.__optional_keys__ == {field.name for field in fields(GenerationSettings)}


@pytest.mark.parametrize(
    "settings",
    [ALL, GenerationSettings(), *(GenerationSettings(guidance_scale=one) for one in ((3.0, 3.0), 2, "1:3@2-5"))],
)
def test_files_give_back_what_was_saved(tmp_path: Path, settings: GenerationSettings) -> None:
    save_settings(tmp_path, settings)
    assert load_settings(tmp_path) == settings


def test_a_file_is_what_people_would_write(tmp_path: Path) -> None:
    save_settings(tmp_path, ALL)
    assert json.loads((tmp_path / SAMPLING).read_text()) == {
        "guidance": [1.0, 8.0],
        "temperature": 0.9,
        "top_k": 50,
        "top_p": 0.95,
        "steps": 4,
        "solver": "euler",
        "sampler": "sequential",
    }
    (tmp_path / SAMPLING).write_text('{"guidance": 2}')
    assert load_settings(tmp_path) == GenerationSettings(guidance_scale=(2.0, 2.0))


def test_without_a_file_there_are_the_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path) == GenerationSettings()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"guidence": 3}', "unknown setting 'guidence': did you mean 'guidance'?"),
        ('{"guidance_scale": 3}', "unknown setting 'guidance_scale': did you mean 'guidance'?"),
        ('{"guidance": "three"}', "a number like 3, .* not 'three'"),
        ('{"guidance": [1, 2, 3]}', "not 3 numbers"),
        ('{"temperature": null}', "temperature must be a number, not None"),
        ('{"steps": 2.5}', "denoising steps must be a whole number, not 2.5"),
        ('{"solver": ["euler"]}', "there is no solver"),
        ("[]", "holds a list"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_files_that_cannot_be_are_refused_by_name(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / SAMPLING).write_text(content)
    with pytest.raises(DARError, match=f"sampling.json .*{said}"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"guidance_scale": "three"}, "a guidance scale is a number like 3, .* not 'three'"),
        ({"guidance_scale": ("1", 3)}, r"a guidance scale is a number or \(start, end\), not \('1', 3\)"),
        ({"guidance_scale": None}, r"a guidance scale is a number or \(start, end\), not None"),
        ({"guidance_scale": True}, r"a guidance scale is a number or \(start, end\), not True"),
        ({"guidance_scale": ()}, "not 0 numbers"),
        ({"guidance_scale": -1}, "0 or more and finite, not -1"),
        ({"temperature": None}, "temperature must be a number, not None"),
        ({"temperature": "hot"}, "temperature must be a number, not 'hot'"),
        ({"top_k": 2.5}, "top-k must be a whole number, not 2.5"),
        ({"top_k": 0}, "top-k must be at least 1, not 0"),
        ({"top_p": "0.9"}, "top-p must be a number, not '0.9'"),
        ({"top_p": 2}, "top-p must lie above 0 and at most at 1, not 2"),
        ({"steps": "4"}, "denoising steps must be a whole number, not '4'"),
        ({"steps": 0}, "at least 1 denoising step"),
        ({"steps": 10**9}, "at most 10,000 denoising steps"),
        ({"steps": 10**30}, "at most 10,000 denoising steps"),
        ({"solver": None}, "there is no solver None: choose one of euler"),
    ],
)
def test_wrong_values_say_what_is_wrong(change: dict[str, Any], said: str) -> None:
    with pytest.raises(DARError, match=said):
        GenerationSettings(**change)


def test_settings_tell_what_takes_effect() -> None:
    assert str(ALL) == "guidance 1:8, temperature 0.9, top-k 50, top-p 0.95, 4 steps of euler"
    assert str(GenerationSettings()).endswith("the tokenizer's number of steps of adams-bashforth-2")
    resolved = GenerationSettings().resolved(tiny.TOKENIZER)
    assert (resolved.steps, ALL.resolved(tiny.TOKENIZER)) == (4, ALL)
    assert ALL.replaced({"guidance_scale": 2, "top_k": None}).values() == {
        **ALL.values(),
        "guidance_scale": (2.0, 2.0),
        "top_k": None,
    }


def test_guidance_may_be_written_in_every_form() -> None:
    forms = [Guidance(1, 3), (1.0, 3.0), [1, 3], "1:3", (1, 3, None)]
    assert {GenerationSettings(guidance_scale=form) for form in forms} == {GenerationSettings()}
    assert str(GenerationSettings(guidance_scale="1:3@2-5", steps=4)).startswith("guidance 1:3@2-5, temperature 1, 4")


def test_guidance_ends_within_the_tokens() -> None:
    GenerationSettings(guidance_scale="3@2-8").resolved(tiny.TOKENIZER)
    with pytest.raises(DARError, match="ends beyond an image's 8 tokens"):
        GenerationSettings(guidance_scale="3@2-9").resolved(tiny.TOKENIZER)
