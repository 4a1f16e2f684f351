import math
from typing import Any

import pytest

from dar.errors import DARError
from dar.prior.guidance import Guidance, GuidanceLike


def test_scale_runs_linearly_from_its_start_to_its_end() -> None:
    assert Guidance.of((1.0, 8.0)).scales(8) == pytest.approx([1, 2, 3, 4, 5, 6, 7, 8])
    assert Guidance.of((4.0, 0.0)).scales(3) == [4, 2, 0]
    assert Guidance.of(2.5).scales(3) == [2.5, 2.5, 2.5]
    assert Guidance.of((2.0, 9.0)).scales(1) == [2]
    assert Guidance.of(2).scales(2) == [2, 2]


@pytest.mark.parametrize("guidance", [-1.0, math.nan, math.inf, (1.0, -0.1), (math.nan, 1.0), (1.0, math.inf)])
def test_scales_that_are_no_scales_are_refused(guidance: GuidanceLike) -> None:
    with pytest.raises(DARError, match="a guidance scale must be 0 or more and finite"):
        Guidance.of(guidance)


@pytest.mark.parametrize("guidance", [(1.0,), (1.0, 2.0, 3.0), ()])
def test_neither_one_nor_two_scales_are_refused(guidance: tuple[float, ...]) -> None:
    with pytest.raises(DARError, match=f"not {len(guidance)} numbers"):
        Guidance.of(guidance)


def test_elsewhere_than_in_its_interval_the_scale_is_1() -> None:
    assert Guidance(2, 4, (2, 5)).scales(6) == [1, 1, 2, 3, 4, 1]
    assert Guidance(3, 3, (0, 2)).scales(3) == [3, 3, 1]
    assert Guidance(3, 7, (1, 2)).scales(2) == [1, 3]
    assert Guidance(1, 4, (0, 8)).scales(8) == Guidance(1, 4).scales(8)
    with pytest.raises(DARError, match="guidance 3@2-9 ends beyond an image's 8 tokens: end it at 8"):
        Guidance(3, 3, (2, 9)).scales(8)


@pytest.mark.parametrize(
    ("text", "guidance"),
    [
        ("3", Guidance(3, 3)),
        ("1:8.5", Guidance(1, 8.5)),
        ("3@16-64", Guidance(3, 3, (16, 64))),
        ("1.1:10@0-8", Guidance(1.1, 10, (0, 8))),
    ],
)
def test_what_is_printed_is_parsed(text: str, guidance: Guidance) -> None:
    assert Guidance.parse(text) == Guidance.of(text) == guidance
    assert str(guidance) == text
    assert Guidance.of(guidance.values()) == Guidance.of(guidance) == guidance


@pytest.mark.parametrize(
    "text", ["", "three", "1:2:3", "1:", ":3", "3@", "3@16", "3@16:64", "@1-2", "3@a-b", "3@1-2-3"]
)
def test_texts_that_are_no_guidance_are_refused(text: str) -> None:
    with pytest.raises(DARError, match="a guidance scale is a number like 3"):
        Guidance.parse(text)


@pytest.mark.parametrize("value", [None, True, ("1", 3), [1, None], {}])
def test_values_that_are_no_guidance_are_refused(value: Any) -> None:
    with pytest.raises(DARError, match=r"a guidance scale is a number or \(start, end\), not "):
        Guidance.of(value)


@pytest.mark.parametrize("interval", [(2, 2), (3, 1), (-1, 4)])
def test_intervals_without_tokens_are_refused(interval: tuple[int, int]) -> None:
    with pytest.raises(DARError, match="guidance cannot act on tokens"):
        Guidance(3, 3, interval)
