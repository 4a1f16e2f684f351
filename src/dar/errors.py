"""Errors about bad input, and the quoting of what they name."""

import re
from collections.abc import Collection

MAX_LISTED = 8
MAX_QUOTED = 160
MAX_SENTENCE = 1000

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Matches control characters, line breaks, what turns the direction of writing, and bytes that are no text."""


class DARError(ValueError):
    """Bad input; one sentence names the thing and the remedy.

    The command line prints the sentence and exits with code 2; programs can catch it as a ``ValueError``. Whatever
    names and values from outside it holds, it is one line of at most ``MAX_SENTENCE`` printable letters.
    """

    def __init__(self, sentence: object) -> None:
        super().__init__(shortened(printable(sentence)))


def printable(text: object) -> str:
    """Make text printable on one line: names of files may hold line breaks, or bytes that are no text."""
    return _UNPRINTABLE.sub("?", str(text))


def shortened(line: str) -> str:
    """Cut the middle out of a line that is too long: sentences begin with the thing and end with the remedy."""
    end = MAX_SENTENCE // 3
    return line if len(line) <= MAX_SENTENCE else f"{line[: MAX_SENTENCE - end - 5]} ... {line[-end:]}"


def quoted(text: object) -> str:
    """Quote foreign text on one line, without control characters, and cut where it gets long."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())
    return line if len(line) <= MAX_QUOTED else line[:MAX_QUOTED] + "..."


def listed(names: Collection[object]) -> str:
    """List names in order, the first few of them if there are many."""
    shown = [quoted(name) for name in sorted(map(str, names))]
    more = f" and {len(shown) - MAX_LISTED} more" if len(shown) > MAX_LISTED else ""
    return ", ".join(shown[:MAX_LISTED]) + more
