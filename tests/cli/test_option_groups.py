from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from dar.cli.option_groups import grouped
from dar.cli.sampling import setting_options
from dar.generation.settings import GivenSettings


@dataclass(frozen=True, kw_only=True)
class Paint:
    colour: Annotated[str, typer.Option("--color", help="Which.")]
    layers: Annotated[int, typer.Option(min=1)] = 2


@pytest.fixture
def said() -> list[Any]:
    return []


@pytest.fixture
def app(said: list[Any]) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @grouped
    @setting_options(["steps"])
    def draw(
        *, name: Annotated[str, typer.Argument()] = "cat", paint: Paint, given: GivenSettings, times: int = 1
    ) -> None:
        """Draw."""
        said.append((name, paint, given, times))

    return app


def run(app: typer.Typer, *words: str) -> str:
    result = CliRunner().invoke(app, words)
    return f"{result.exit_code} {result.output}"


def test_a_command_gets_the_object_of_which_users_give_the_fields(app: typer.Typer, said: list[Any]) -> None:
    assert run(app, "--color", "red").startswith("0")
    assert run(app, "dog", "--color", "blue", "--layers", "3", "--steps", "4", "--times", "5").startswith("0")
    assert said == [
        ("cat", Paint(colour="red"), {}, 1),
        ("dog", Paint(colour="blue", layers=3), {"steps": 4}, 5),
    ]


def test_fields_are_checked_and_required_as_options_are(app: typer.Typer, said: list[Any]) -> None:
    assert run(app).startswith("2")
    assert run(app, "--color", "red", "--layers", "0").startswith("2")
    assert not said


def test_required_ones_come_first(app: typer.Typer) -> None:
    options = [parameter.opts[0] for parameter in typer.main.get_command(app).params]
    assert options[:5] == ["--color", "name", "--layers", "--steps", "--times"]
