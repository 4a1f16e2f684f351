"""Checks of arguments: numbers that are numbers, and keywords that exist."""

import difflib
import operator
import re
from collections.abc import Collection, Iterable
from numbers import Real

from dar.errors import DARError, quoted


class UnknownArgumentError(DARError, TypeError):
    """Raised for a keyword that a function does not have."""


def whole_number(name: str, value: object) -> int:
    """Convert a value to an integer of Python.

    Args:
        name: what to call it in the error.
        value: an integer of Python, NumPy or torch.

    Raises:
        DARError: if it is anything else, such as a text, a fraction, or True.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise DARError(f"{name} must be a whole number, not {quoted(repr(value))}") from None


def positive(name: str, value: object) -> int:
    """Check that a value is a whole number of at least 1, and return it.

    Raises:
        DARError: if it is none.
    """
    number = whole_number(name, value)
    if number < 1:
        raise DARError(f"{name} must be at least 1, not {number}")
    return number


def spelled_number(text: str) -> int | None:
    """Read a whole number that a text spells in at most 18 digits, so that 64 bits hold it; None for any other text."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None


def real_number(name: str, value: object) -> float:
    """Convert a value to a float of Python; as ``whole_number`` otherwise. Infinity and NaN pass."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise DARError(f"{name} must be a number, not {quoted(repr(value))}")
    try:
        return float(value)
    except OverflowError:
        raise DARError(f"{name} must be a number below 1e308, not one of more than 300 digits") from None


def refuse_unknown_arguments(function: str, given: Iterable[str], known: Collection[str]) -> None:
    """Make sure that a function has the keywords that it was called with.

    Args:
        function: its name, as callers know it.
        given: keywords.
        known: those that it has.

    Raises:
        UnknownArgumentError: for the first that it lacks, with the nearest that it has.
    """
    for name in given:
        if name not in known:
            raise UnknownArgumentError(f"{function}() has no argument {quoted(name)!r}: {nearest(name, known)}")


def nearest(name: str, known: Collection[str]) -> str:
    """Suggest what a mistyped name may have meant, or else list the names there are."""
    containing = [other for other in sorted(known) if name and (name in other or other in name)]
    near = difflib.get_close_matches(name, sorted(known), n=2, cutoff=0.6) or containing[:2]
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are {', '.join(sorted(known))}"
