import math
from dataclasses import dataclass

import pytest

from dar.fields import (
    MAX_SIZE,
    check_sizes,
    check_types,
    differing_fields,
    lists_to_tuples,
    require_at_least,
    require_names,
    require_one_of,
    require_positive,
    require_share,
    require_share_below_1,
)


@dataclass(frozen=True)
class Config:
    count: int = 3
    rate: float = 0.5
    name: str = "a"
    on: bool = True
    names: tuple[str, ...] = ("b", "c")


def problem(check: object, **values: object) -> str:
    """What a check says of these values; empty if nothing."""
    try:
        check(Config(**values))  # type: ignore[operator, arg-type]
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"count": True}, "count must be a whole number, not True"),
        ({"count": 3.0}, "count must be a whole number, not 3.0"),
        ({"count": None}, "count must be a whole number, not None"),
        ({"rate": "1"}, "rate must be a number, not '1'"),
        ({"rate": False}, "rate must be a number, not False"),
        ({"rate": 2}, ""),
        ({"name": 3}, "name must be text, not 3"),
        ({"on": 1}, "on must be true or false, not 1"),
        ({"names": 1}, ""),
    ],
)
def test_types_are_those_declared(values: dict[str, object], said: str) -> None:
    assert problem(check_types, **values) == said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"count": 0}, "count must be positive and finite, not 0"),
        ({"rate": math.nan}, "rate must be positive and finite, not nan"),
        ({"rate": math.inf}, "rate must be positive and finite, not inf"),
        ({"count": MAX_SIZE}, ""),
        ({"count": MAX_SIZE + 1}, f"count must be at most {MAX_SIZE}, not {MAX_SIZE + 1}"),
    ],
)
def test_sizes_are_positive_and_not_absurd(values: dict[str, object], said: str) -> None:
    assert problem(check_sizes, **values) == said


@pytest.mark.parametrize(
    ("check", "good", "bad", "said"),
    [
        (lambda c: require_positive(c, "rate"), 1e-9, 0.0, "rate must be positive and finite, not 0.0"),
        (lambda c: require_at_least(c, 1, "rate"), 1, math.inf, "rate must be at least 1, not inf"),
        (lambda c: require_at_least(c, 1, "rate"), 1, math.nan, "rate must be at least 1, not nan"),
        (lambda c: require_share(c, "rate"), 1, 1.01, "rate must lie in 0 to 1, not 1.01"),
        (lambda c: require_share(c, "rate"), 0, math.nan, "rate must lie in 0 to 1, not nan"),
        (lambda c: require_share_below_1(c, "rate"), 0, 1, "rate must lie in 0 to 1, 1 excluded, not 1"),
        (lambda c: require_one_of(c, "rate", 1, 2, 3), 3, 4, "rate must be 1, 2 or 3, not 4"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_it_must_be(check: object, good: float, bad: float, said: str) -> None:
    assert (problem(check, rate=good), problem(check, rate=bad)) == ("", said)


@pytest.mark.parametrize("names", [(), ("b", ""), ("b", 1), "bc", None])
def test_names_are_texts_that_are_not_empty(names: object) -> None:
    assert problem(lambda c: require_names(c, "names", 1)) == ""
    expected = f"names must be at least one name, and none may be empty, not {names!r}"
    assert problem(lambda c: require_names(c, "names", 1), names=names) == expected


def test_lists_become_tuples_and_nothing_else_changes() -> None:
    config = Config(names=["b", "c"])  # type: ignore[arg-type]
    lists_to_tuples(config)
    assert config == Config()


def test_differing_fields_tell_old_and_new() -> None:
    assert list(differing_fields(Config(), Config(count=4, name="z"))) == [("count", 3, 4), ("name", "a", "z")]
    assert list(differing_fields(Config(), Config())) == []
