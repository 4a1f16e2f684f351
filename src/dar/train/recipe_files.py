"""Recipes of any kind as YAML files, and dataclasses from what such a file holds."""

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from dar.errors import DARError
from dar.files import check_regular_file, is_there, read_text, writing
from dar.json_text import check_depth
from dar.model_folder import MOST_RECIPE_BYTES

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


def all_names() -> list[str]:
    """List the recipes of all kinds that the package brings along."""
    folder = files("dar") / "recipes"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def read_recipe(
    source: str | Path, overrides: Sequence[str], names: Sequence[str], parse: Callable[[Mapping[str, Any]], T]
) -> T:
    """Read a recipe of any kind.

    Args:
        source: the name of a recipe of the package, or a YAML file.
        overrides: "section.field=value", value in YAML.
        names: the package's recipes of this kind.
        parse: makes the recipe from plain dictionaries; raises ValueError for what cannot be.

    Raises:
        DARError: naming the recipe, and the field and value that cannot be.
    """
    name = str(source)
    check_regular_file(Path(name))
    is_file = is_there(Path(name)) and Path(name).is_file()
    if not is_file and name not in names:
        raise DARError(f"there is no recipe {name!r}: give a YAML file or one of {', '.join(names)}")
    path = Path(name) if is_file else Path(str(files("dar") / "recipes" / f"{name}.yaml"))
    try:
        content = _parsed(read_text(path, MOST_RECIPE_BYTES))
        if not isinstance(content, dict):
            raise ValueError("a recipe is a mapping of sections")
        for override in overrides:
            _apply_override(content, override)
        return parse(content)
    except yaml.YAMLError as error:
        raise DARError(f"recipe {name} is not valid YAML: {' '.join(str(error).split())}") from error
    except (OSError, TypeError, ValueError) as error:
        raise DARError(f"recipe {name}: {error}") from error


def save_recipe(recipe: "DataclassInstance", path: Path) -> None:
    """Write a recipe of any kind as YAML that ``read_recipe`` reads."""
    content = dataclasses.asdict(recipe)
    for section in content.values():
        section.update({key: list(value) for key, value in section.items() if isinstance(value, tuple)})
    with writing(path) as aside:
        aside.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _apply_override(content: Any, override: str) -> None:
    path, equals, value = override.partition("=")
    section, dot, name = path.partition(".")
    if not (equals and dot and isinstance(content.get(section, {}), dict)):
        raise ValueError(f"{override!r} is not of the form section.field=value, as in tokenizer_training.steps=100")
    content.setdefault(section, {})[name] = _parsed(value)


class _Loader(yaml.SafeLoader):
    """Reads plain values, without aliases: a page of these can stand for more values than a memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias (*): write the value out again")
        return super().compose_node(parent, index)


def _parsed(text: str) -> Any:
    """Parse YAML; tags that their text doesn't fit and deep nesting make its library raise anything."""
    try:
        content = yaml.load(text, _Loader)
    except (LookupError, AttributeError, RecursionError, TypeError) as error:
        raise yaml.YAMLError(f"a value does not fit its tag, or is nested too deep ({type(error).__name__})") from error
    check_depth(content)
    return content


def section_of(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a section of a recipe, empty where it is left out; raises ValueError where it has no fields."""
    found = content.get(name) or {}
    if not isinstance(found, dict):
        raise ValueError(f"{name} must be a mapping of fields to values, not {found!r}")
    return found


def build(kind: type[T], where: str, values: Mapping[str, Any]) -> T:
    """Make a dataclass from a mapping; unknown and missing fields are named, and whole numbers taken as floats."""
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            raise ValueError(f"{where} has no field {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
    converted = {name: _value(where, known[name], value) for name, value in values.items()}
    try:
        return kind(**converted)
    except TypeError as error:
        raise ValueError(f"{where}: {str(error).split(') ')[-1]}") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _value(where: str, known: "dataclasses.Field[Any]", value: Any) -> Any:
    """Convert a value that YAML reads as another type: 1e-3 as text, 1 as a whole number where a float is meant."""
    if known.type is float:
        try:
            return value if isinstance(value, bool) else float(value)  # true is no number: the dataclass will say so
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{where}: {known.name} must be a number, not {value!r}") from None
    return tuple(value) if isinstance(value, list) else value
