import math

import pytest

from dar.json_text import MOST_DEPTH, MOST_DIGITS, parse_json


def test_plain_json_is_read() -> None:
    assert parse_json(b'{"a": [1, -2.5, null, "x"]}') == {"a": [1, -2.5, None, "x"]}
    assert parse_json("9" * MOST_DIGITS) == 10**MOST_DIGITS - 1
    assert parse_json("[" * MOST_DEPTH + "]" * MOST_DEPTH)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expecting value"),
        (b"\xff\xff\xff", "decode"),
        ("[" * 100_000, "nested too deep"),
        ("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1), "nested too deep"),
        ('{"a":' * 500 + "1" + "}" * 500, "nested too deep"),
        ("9" * 5000, "a whole number of 5000 digits"),
        ("9" * 301, "a whole number of 301 digits"),
    ],
)
def test_all_else_is_refused_with_one_kind_of_error(text: str | bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_json(text)


def test_infinities_are_refused_where_asked() -> None:
    assert parse_json("Infinity") == math.inf
    with pytest.raises(ValueError, match="it holds NaN, which is no JSON"):
        parse_json('{"a": NaN}', finite=True)
