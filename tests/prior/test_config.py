import dataclasses
import math

import numpy as np
import pytest
import torch

from dar.errors import DARError
from dar.prior import Prior, PriorConfig
from dar.prior.config import PRIOR_SIZES
from dar.prior.imagenet import imagenet_classes
from tests import tiny


def test_vocabulary_is_image_tokens_then_classes_then_the_null_class() -> None:
    assert tiny.PRIOR.num_classes == tiny.PRIOR.null_class == 3
    assert tiny.PRIOR.vocab_size == 32 + 3 + 1


@pytest.mark.parametrize(
    "wanted",
    [
        *(1, "1", " 1 ", "great dane", "Great_Dane", "GREAT-DANE", " great  dane "),
        *(np.int64(1), np.uint8(1), np.array(1), np.str_("great dane"), torch.tensor(1), torch.tensor(1).byte()),
    ],
)
def test_a_class_goes_by_name_or_index(wanted: str | int) -> None:
    assert tiny.PRIOR.class_index(wanted) == 1


def test_underscores_in_class_names_may_be_spaces() -> None:
    assert tiny.PRIOR.class_index("sea lion") == tiny.PRIOR.class_index("sea_lion") == 2


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ("great dan", "there is no class 'great dan'; did you mean great dane?"),
        ("sea-lyon", "there is no class 'sea-lyon'; did you mean sea_lion?"),
        ("xyzzy", "there is no class 'xyzzy'; the classes are cat, great dane, sea_lion"),
        ("", "there is no class ''"),
        ("--3", "'--3'"),
        ("²", "'²'"),
        (5000 * "9", "there is no class '999"),
        (3, "class index 3 is out of range: this model has classes 0 to 2"),
        ("3", "class index 3 is out of range"),
        (-1, "class index -1 is out of range"),
        ("-1", "class index -1 is out of range"),
    ],
)
def test_an_unknown_class_is_refused_with_what_could_be_meant(wanted: str | int, complaint: str) -> None:
    with pytest.raises(DARError) as caught:
        tiny.PRIOR.class_index(wanted)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    "wanted",
    [
        *(1.0, True, None, [1], b"1", np.float64(1), np.bool_(True), np.array([1]), np.array([[1]])),
        *(torch.tensor(1.0), torch.tensor(True), torch.tensor([1]), torch.tensor([[1]])),
    ],
)
def test_a_class_that_is_neither_a_name_nor_a_whole_number_is_refused(wanted: object) -> None:
    with pytest.raises(DARError, match="a class is a name or a whole number, not ") as caught:
        tiny.PRIOR.class_index(wanted)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wanted",
    [
        *([1, 2], (1, 2), range(1, 3), ["great dane", np.int64(2)], [torch.tensor(1), np.array(2)]),
        *(np.array([1, 2]), np.array([1, 2], np.uint8), np.array(["1", "sea lion"])),
        *(torch.tensor([1, 2]), torch.tensor([1, 2]).int(), iter([1, 2])),
    ],
)
def test_classes_come_in_lists_arrays_and_tensors(wanted: object) -> None:
    indices = tiny.PRIOR.class_indices(wanted)
    assert indices == [1, 2]
    assert {type(index) for index in indices} == {int}


@pytest.mark.parametrize("wanted", ["great dane", "1", 1, np.int64(1), np.array(1), torch.tensor(1)])
def test_a_single_class_needs_no_list(wanted: object) -> None:
    assert tiny.PRIOR.class_indices(wanted) == [1]


def test_one_class_in_a_tensor_is_not_taken_for_no_class() -> None:
    assert tiny.PRIOR.class_indices(torch.tensor([0])) == tiny.PRIOR.class_indices(np.array([0])) == [0]


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ([], "classes must be a list with at least one class name or index, not []"),
        (torch.tensor([]), "classes must be a list with at least one class name or index, not []"),
        (None, "a class is a name or a whole number, not None"),
        (b"\0", "a class is a name or a whole number, not b'"),
        (1.0, "a class is a name or a whole number, not 1.0"),
        ("dog", "there is no class 'dog'"),
        (torch.tensor([1.0]), "a class is a name or a whole number, not 1.0"),
        (np.array([1.0, 2.0]), "a class is a name or a whole number, not 1.0"),
        (torch.tensor([True, False]), "a class is a name or a whole number, not True"),
        (torch.tensor([[0, 1]]), "a class is a name or a whole number, not [0, 1]"),
        (np.array([0, 3]), "class index 3 is out of range"),
    ],
)
def test_classes_that_cannot_be_are_refused(wanted: object, complaint: str) -> None:
    with pytest.raises(DARError) as caught:
        tiny.PRIOR.class_indices(wanted)
    assert complaint in str(caught.value)


def test_a_name_that_two_classes_bear_is_refused_with_their_indices() -> None:
    config = dataclasses.replace(tiny.PRIOR, class_names=("crane", "dog", "Crane"))
    with pytest.raises(DARError, match=r"several classes are named 'CRANE': give an index of \[0, 2\]"):
        config.class_index("CRANE")
    assert config.class_index(2) == 2


def test_a_name_that_is_equal_to_the_letter_comes_first() -> None:
    config = dataclasses.replace(tiny.PRIOR, class_names=("dog", "house cat", "Dog", "house_cat"))
    assert config.class_indices(["Dog", "dog", "house cat", "house_cat"]) == [2, 0, 1, 3]


def test_a_numeric_name_comes_before_an_index() -> None:
    config = dataclasses.replace(tiny.PRIOR, class_names=("1", "0", "2"))
    assert config.class_index("1") == 0
    assert config.class_index(1) == 1


def test_long_lists_of_classes_are_cut_short() -> None:
    config = dataclasses.replace(tiny.PRIOR, class_names=tuple(f"kind {i}" for i in range(1000)))
    with pytest.raises(DARError) as caught:
        config.class_index("zzz")
    assert str(caught.value).endswith("kind 9, ...")


def test_class_names_from_json_become_a_tuple() -> None:
    assert dataclasses.replace(tiny.PRIOR, class_names=["a", "b"]) == dataclasses.replace(
        tiny.PRIOR, class_names=("a", "b")
    )


NUMBERS = [field.name for field in dataclasses.fields(PriorConfig) if field.name != "class_names"]
WHOLE_NUMBERS = [field.name for field in dataclasses.fields(PriorConfig) if field.type is int]


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, math.nan, "8", None])
def test_a_size_that_is_no_positive_number_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(tiny.PRIOR, **{field: value})


@pytest.mark.parametrize("field", ["rope_theta", "norm_eps"])
def test_an_infinite_size_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(tiny.PRIOR, **{field: math.inf})


@pytest.mark.parametrize("field", WHOLE_NUMBERS)
@pytest.mark.parametrize("value", [64.0, True])
def test_a_size_that_is_not_whole_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{field} must be a whole number"):
        dataclasses.replace(tiny.PRIOR, **{field: value})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"width": 66}, "width 66 is not a multiple of twice the 2 heads"),
        ({"num_heads": 3}, "width 64 is not a multiple of twice the 3 heads"),
        ({"class_names": ()}, "class_names must be at least one name"),
        ({"class_names": ("cat", "")}, "class_names .* none may be empty"),
        ({"class_names": ("cat", 3)}, "class_names"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(tiny.PRIOR, **change)


@pytest.mark.parametrize(
    ("size", "parameters"), [("B", 110_888_448), ("L", 342_910_976), ("XL", 774_699_520), ("XXL", 1_410_972_672)]
)
def test_published_sizes_have_the_published_numbers_of_parameters(size: str, parameters: int) -> None:
    """111 M, 343 M, 775 M and 1.4 B; ours has also rows for class tokens in the output layer, which are zero."""
    config = PriorConfig(class_names=imagenet_classes(), **PRIOR_SIZES[size])
    with torch.device("meta"):
        prior = Prior(config)
    unused = (config.num_classes + 1) * config.width
    assert sum(parameter.numel() for parameter in prior.parameters()) - unused == parameters
