"""A seeded generator of hostile inputs: files as strangers and accidents leave them, options as nobody means them."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

DIGITS = "<so many digits that Python neither reads nor writes them>"
"""Stands for a number that ``encoded`` spells out."""

MANY_DIGITS = "9" * 5000

TEXTS = (
    *(
        "",
        " ",
        "\x00",
        "\x1b[31mred\x1b[0m",
        "a\nb\r\nc",
        "\u202eevil",
        "\u2028",
        "\ud800",
        "\udcff",
        "é",
        "日本",
        "🙂",
    ),
    *("../../etc/passwd", "/dev/zero", "/proc/self/mem", "~", ".", "..", "-", "--help", "a" * 300, "b" * 5000),
    *("null", "NaN", "inf", "-1", "1e400", "²", "٣", "0x10", "1_0", "True", "{}", "%s%n", "{0.__class__}", "<b>x</b>"),
    *("1:3", "1:2@9-3", "@", "1:2@0-" + "9" * 30, "https://127.0.0.1/x", "!!python/object:os.system", "*a", "&a [*a]"),
    *("1", "4", "0", "auto", "cpu", "meta", "float32", "euler", "cat", MANY_DIGITS, "9" * 30, "-" + MANY_DIGITS),
)

NUMBERS = (
    *(-1, 0, 1, 2, 3, 7, 64, 2**15, 2**24, 2**24 - 64, 2**31, 2**63, 2**64, 10**30, 10**299, DIGITS, -(2**63) - 1),
    *(0.5, -0.0, 1e-320, 1e38, 1e308, float("inf"), float("nan")),
)


def odd_value(chance: random.Random) -> Any:
    """A JSON value that does not belong wherever it is put."""
    kind = chance.random()
    if kind < 0.4:
        return chance.choice(NUMBERS)
    if kind < 0.7:
        return chance.choice(TEXTS)
    if kind < 0.8:
        return nested(chance.choice((1, 50, 150, 400)), chance)
    return chance.choice(
        [None, True, False, [], {}, [None], [[]], {"a": {}}, [1] * 1000, ["a", "a"], {"": ""}, [0.5, "x"]]
    )


def near_value(value: Any, chance: random.Random) -> Any:
    """A value of the same kind as one that is right, so that some inputs come further than the first check."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return chance.choice(
            (value + 1, value - 1, value * 2, value / 2, -value, float(value), str(value), 0, 1, 10**6)
        )
    if isinstance(value, str):
        return chance.choice((value.upper(), value + " ", value[::-1], value * 2, [value], chance.choice(TEXTS)))
    if isinstance(value, list):
        return chance.choice(
            (value[::-1], value * 2, value[1:], [*value, odd_value(chance)], dict.fromkeys(map(str, value)))
        )
    return odd_value(chance)


def nested(depth: int, chance: random.Random) -> Any:
    """Lists or objects in each other."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if chance.random() < 0.5 else {"a": value}
    return value


def changed(content: Any, chance: random.Random) -> Any:
    """A copy of JSON content with one to three changes at places chosen by chance."""
    content = copy.deepcopy(content)
    for _ in range(chance.choice((1, 1, 2, 3))):
        places = list(_places(content))
        if not places or chance.random() < 0.05:
            content = odd_value(chance)
            continue
        inside, key = chance.choice(places)
        kind = chance.random()
        if kind < 0.3:
            inside[key] = near_value(inside[key], chance)
        elif kind < 0.75:
            inside[key] = odd_value(chance)
        elif kind < 0.9:
            del inside[key]
        elif isinstance(inside, dict):
            inside[chance.choice(TEXTS)] = odd_value(chance)
        else:
            inside.insert(0, odd_value(chance))
    return content


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(items)[:50]:
        yield content, key
        if len(json.dumps(value)) < 10_000:
            yield from _places(value)


def encoded(content: Any, chance: random.Random) -> bytes:
    """JSON of a content, sometimes spoilt as bytes too."""
    text = json.dumps(content).replace(f'"{DIGITS}"', MANY_DIGITS).encode()
    return spoilt(text, chance) if chance.random() < 0.2 else text


def spoilt(content: bytes, chance: random.Random) -> bytes:
    """Bytes that were cut, damaged, or replaced."""
    place = chance.randint(0, len(content))
    return chance.choice(
        [
            content[:place],
            content[:place] + chance.randbytes(3) + content[place + 3 :],
            content[:place] + chance.choice((b"\x00", b"\xff\xfe", b"\x1b[2J", b"[", b"}", b"\n")) + content[place:],
            b"\xef\xbb\xbf" + content,
            content.decode("latin-1").encode("utf-16"),
            content * 2,
            chance.randbytes(chance.randint(0, 300)),
            100_000 * chance.choice((b"[", b'{"a":', b"- ", b"9", b"!!int ")),
            b"",
        ]
    )
