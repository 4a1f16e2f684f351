import pytest

from dar.data.splits import choose_split, split_called, split_within, splits_in
from dar.errors import DARError


@pytest.mark.parametrize(
    ("name", "splits"),
    [
        ("train-00000-of-00002.parquet", {"train"}),
        ("imagenet1k-val-{000}.tar", {"validation"}),
        ("cifar10_TEST_0.tar", {"test"}),
        ("dev2.parquet", {"validation"}),
        ("train_and_valid.tar", {"train", "validation"}),
        ("trains.tar", set()),
        ("latest.tar", set()),
        ("contest-results.tar", set()),
        ("développement.tar", set()),
    ],
)
def test_splits_are_whole_words(name: str, splits: set[str]) -> None:
    assert splits_in(name) == splits


def test_a_folder_is_called_by_its_whole_name() -> None:
    assert [split_called(name) for name in ("Train", "val", "testing", "train2", "my-test")] == [
        "train",
        "validation",
        "test",
        None,
        None,
    ]


def test_only_validation_is_stood_in_for_and_that_is_said() -> None:
    assert choose_split("in", "val", {"validation", "test"}) == ("validation", ())
    split, notes = choose_split("in", "validation", {"train", "test"})
    assert split == "test"
    assert "test stands in for validation" in notes[0]
    with pytest.raises(DARError, match="in has the split train, none of test: name the folder or file itself"):
        choose_split("in", "test", {"train"})


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Train", ("train", "*")),
        ("val2017", ("validation", "*2017")),
        ("ILSVRC2012_img_val", ("validation", "ILSVRC2012_img_*")),
        ("train-val", None),
        ("trains", None),
        ("", None),
    ],
)
def test_a_split_is_one_word_of_a_name(name: str, found: tuple[str, str] | None) -> None:
    assert split_within(name) == found
