"""Checks of the sizes of all models; nothing heavy is imported, so that recipes are checked at once."""

import math
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

HEAD_WIDTH = 64
"""Channels of an attention head."""

LARGEST = 2**24
"""No size of a model is larger; a number that is came from a damaged or hostile file."""


def check_sizes(config: "DataclassInstance") -> None:
    """Make sure that the fields of a configuration that are typed as numbers are positive, finite and not absurd.

    Raises:
        ValueError: naming the first field that is not.
    """
    for field in fields(config):
        if field.type not in (int, float):
            continue
        value = getattr(config, field.name)
        if field.type is int and (not isinstance(value, int) or isinstance(value, bool)):
            raise ValueError(f"{field.name} must be a whole number, not {value!r}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ValueError(f"{field.name} must be positive and finite, not {value!r}")
        if value > LARGEST:
            raise ValueError(f"{field.name} must be at most {LARGEST}, not {value!r}")


def differing_fields(found: "DataclassInstance", wanted: "DataclassInstance") -> Iterator[tuple[str, Any, Any]]:
    """List the fields in which two configurations of one kind differ: name, found value, wanted value."""
    for field in fields(found):
        old, new = getattr(found, field.name), getattr(wanted, field.name)
        if old != new:
            yield field.name, old, new
