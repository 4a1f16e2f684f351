"""Options of commands, made of the fields of the settings."""

import inspect
from dataclasses import fields

import pytest
import typer
from typer.testing import CliRunner

from dar.cli.sampling import ALL, DRAWING, as_options, setting_options
from dar.errors import DARError
from dar.generation.settings import DENOISING, GenerationSettings, GivenSettings
from dar.prior.guidance import Guidance

WORDS = ["--temperature", "0.9", "--top-k", "7", "--top-p", "0.5"]


def run(names: tuple[str, ...], *words: str) -> GivenSettings:
    """What a command with these options gets of these words."""
    got: list[GivenSettings] = []
    app = typer.Typer()

    @app.command()
    @setting_options(names)
    def command(out: str, seed: int = 0, *, given: GivenSettings, last: bool = False) -> None:
        """Do nothing."""
        assert (out, seed, last) == ("out", 1, True)
        got.append(given)

    result = CliRunner().invoke(app, ["out", "--seed", "1", "--last", *words])
    if isinstance(result.exception, DARError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return got[0]


def test_every_field_is_an_option() -> None:
    words = ["--guidance", "1:3@2-5", "--steps", "3", "--solver", "euler", "--sampler", "drafts", *WORDS]
    given = run(ALL, *words)
    assert given == {
        "guidance_scale": Guidance(1, 3, (2, 5)),
        "temperature": 0.9,
        "top_k": 7,
        "top_p": 0.5,
        "steps": 3,
        "solver": "euler",
        "sampler": "drafts",
    }
    assert given.keys() == {one.name for one in fields(GenerationSettings)} == set(ALL)
    assert as_options(given) == words


def test_what_is_not_given_is_left_out() -> None:
    assert run(ALL) == {}
    assert run(ALL, "--top-k", "7") == {"top_k": 7}


def test_a_command_may_have_some_of_the_options() -> None:
    def command(*, given: GivenSettings) -> None: ...

    assert tuple(inspect.signature(setting_options(DENOISING)(command)).parameters) == DENOISING
    assert run(DRAWING, "--guidance", "2", "--sampler", "drafts", *WORDS).keys() == set(ALL) - set(DENOISING)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--guidance", ""], "a guidance scale is a number like 3"),
        (["--temperature", "-1"], "temperature must be 0 or more"),
        (["--solver", "heun"], "no solver 'heun'"),
        (["--sampler", "beam"], "no sampler 'beam'"),
    ],
)
def test_settings_that_cannot_be_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(DARError, match=said):
        run(ALL, *words)
