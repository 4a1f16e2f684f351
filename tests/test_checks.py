import numpy as np
import pytest
import torch

from dar.checks import UnknownArgumentError, nearest, real_number, refuse_unknown_arguments, whole_number
from dar.errors import DARError


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3)])
def test_whole_numbers_become_integers_of_python(value: object) -> None:
    assert whole_number("it", value) == 3
    assert type(whole_number("it", value)) is int


@pytest.mark.parametrize("value", ["3", 3.0, True, None, [3], np.float64(3)])
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(DARError, match="it must be a whole number, not "):
        whole_number("it", value)


def test_numbers_are_told_from_what_looks_like_them() -> None:
    assert [real_number("it", value) for value in (1, 1.5, np.float32(1.5))] == [1, 1.5, 1.5]
    for value in ("1", None, True, (1,)):
        with pytest.raises(DARError, match="it must be a number, not "):
            real_number("it", value)


def test_unknown_arguments_are_refused_with_the_nearest_known() -> None:
    refuse_unknown_arguments("f", ["seed"], {"seed"})
    with pytest.raises(UnknownArgumentError, match=r"f\(\) has no argument 'sed': did you mean 'seed'\?"):
        refuse_unknown_arguments("f", ["sed"], {"seed", "steps"})
    assert issubclass(UnknownArgumentError, TypeError)  # what Python itself raises


def test_the_nearest_name_is_alike_or_contains_it() -> None:
    assert nearest("guidance", {"guidance_scale", "seed"}) == "did you mean 'guidance_scale'?"
    assert nearest("xyz", {"b", "a"}) == "there are a, b"


@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_numbers_that_no_float_holds_are_refused(value: int) -> None:
    with pytest.raises(DARError, match="temperature must be a number below 1e308"):
        real_number("temperature", value)
