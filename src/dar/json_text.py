"""JSON from outside: read strictly, or refused with a ``ValueError``, whatever it holds."""

import json
from typing import Any, NoReturn

MOST_DIGITS = 300
"""Of a whole number; one of more is too large for any float."""

MOST_DEPTH = 100
"""Of lists and objects within each other; the functions that go through much deeper ones end in a RecursionError."""


def parse_json(text: str | bytes, *, finite: bool = False) -> Any:
    """Parse JSON.

    Args:
        text: what to parse.
        finite: whether to refuse NaN and infinities, which are no JSON, though Python reads and writes them.

    Raises:
        ValueError: if it is no JSON, is nested too deep, or holds a whole number of too many digits.
    """
    try:
        content = json.loads(text, parse_int=_whole_number, parse_constant=_refuse_constant if finite else None)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    check_depth(content)
    return content


def check_depth(content: Any) -> None:
    """Make sure that lists and dictionaries are not nested deeper than ``MOST_DEPTH``.

    Raises:
        ValueError: if they are.
    """
    level = [content]
    for _ in range(MOST_DEPTH):
        insides = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [value for inside in insides for value in inside if isinstance(value, dict | list)]
        if not level:
            return
    raise ValueError("it is nested too deep")


def storable(text: str) -> str:
    """Replace halves of letters, which JSON can tell and UTF-8 cannot."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def _whole_number(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"it holds a whole number of {len(digits)} digits")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no JSON")
