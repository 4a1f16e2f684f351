"""Checks of the fields of configurations; nothing heavy is imported, so that recipes are checked at once.

Each raises a ``ValueError`` of one sentence that names the field, what it must be and what it is.
"""

import math
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

HEAD_WIDTH = 64
"""Channels of an attention head."""

MAX_SIZE = 2**24
"""Largest size of a model; a larger one came from a damaged or hostile file."""

MOST_STEPS = 10_000
"""Largest number of denoising steps: more than a picture can show, and still a short list of times."""

MOST_WORKERS = 256
"""Largest number of processes that decode ahead; a machine that is told to start many more stands still."""


def check_types(config: "DataclassInstance") -> None:
    """Make sure that the fields typed as int, float, str or bool hold such; an int will do for a float."""
    for field in fields(config):
        value = getattr(config, field.name)
        if field.type is int and not is_whole(value):
            raise ValueError(f"{field.name} must be a whole number, not {value!r}")
        if field.type is float and not (is_whole(value) or isinstance(value, float)):
            raise ValueError(f"{field.name} must be a number, not {value!r}")
        if field.type is str and not isinstance(value, str):
            raise ValueError(f"{field.name} must be text, not {value!r}")
        if field.type is bool and not isinstance(value, bool):
            raise ValueError(f"{field.name} must be true or false, not {value!r}")


def check_sizes(config: "DataclassInstance") -> None:
    """Make sure that types are right, and that all numbers are positive, finite and at most ``MAX_SIZE``."""
    check_types(config)
    numbers = [field.name for field in fields(config) if field.type in (int, float)]
    require_positive(config, *numbers)
    require_at_most(config, MAX_SIZE, *numbers)


def require_positive(config: "DataclassInstance", *names: str) -> None:
    """Make sure that numbers are positive and finite."""
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ValueError(f"{name} must be positive and finite, not {getattr(config, name)!r}")


def require_at_least(config: "DataclassInstance", least: int, *names: str) -> None:
    """Make sure that numbers are finite and not smaller than ``least``."""
    for name in names:
        if not least <= getattr(config, name) < math.inf:
            raise ValueError(f"{name} must be at least {least}, not {getattr(config, name)!r}")


def require_at_most(config: "DataclassInstance", most: int, *names: str) -> None:
    """Make sure that numbers are not larger than ``most``."""
    for name in names:
        if getattr(config, name) > most:
            raise ValueError(f"{name} must be at most {most}, not {getattr(config, name)!r}")


def require_share(config: "DataclassInstance", *names: str) -> None:
    """Make sure that numbers lie in 0 to 1."""
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name} must lie in 0 to 1, not {getattr(config, name)!r}")


def require_share_below_1(config: "DataclassInstance", *names: str) -> None:
    """Make sure that numbers lie in 0 to 1, 1 excluded."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"{name} must lie in 0 to 1, 1 excluded, not {getattr(config, name)!r}")


def require_one_of(config: "DataclassInstance", name: str, *choices: object) -> None:
    """Make sure that a field has one of the values that it can have."""
    if getattr(config, name) not in choices:
        *others, last = map(repr, choices)
        raise ValueError(f"{name} must be {', '.join(others)} or {last}, not {getattr(config, name)!r}")


def require_names(config: "DataclassInstance", name: str, least: int) -> None:
    """Make sure that a field is a tuple of at least so many texts, none of them empty."""
    value = getattr(config, name)
    if not isinstance(value, tuple) or len(value) < least or not all(isinstance(item, str) and item for item in value):
        some = "one name" if least == 1 else f"{least} names"
        raise ValueError(f"{name} must be at least {some}, and none may be empty, not {value!r}")


def lists_to_tuples(config: "DataclassInstance") -> None:
    """Turn the lists that JSON and YAML give into tuples; for ``__post_init__`` of a frozen dataclass."""
    for field in fields(config):
        if isinstance(value := getattr(config, field.name), list):
            object.__setattr__(config, field.name, tuple(value))


def is_whole(value: object) -> bool:
    """Tell whether a value is a whole number, which True and 1.0 are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def differing_fields(found: "DataclassInstance", wanted: "DataclassInstance") -> Iterator[tuple[str, Any, Any]]:
    """List the fields in which two configurations of one kind differ: name, found value, wanted value."""
    for field in fields(found):
        old, new = getattr(found, field.name), getattr(wanted, field.name)
        if old != new:
            yield field.name, old, new
