import pytest

from dar.inspection.sizes import Sizes


def sizes(*given: tuple[int, int]) -> Sizes:
    found = Sizes()
    for width, height in given:
        found.add(width, height)
    return found


def test_summary_of_sizes_and_shapes() -> None:
    summary = sizes((100, 50), (10, 20), (300, 300), (100, 50), (900, 90)).summary(size=64)
    assert summary is not None
    assert (summary.smallest, summary.median, summary.largest) == ((10, 20), (100, 50), (300, 300))
    assert (summary.distinct, summary.shortest_side) == (4, 10)
    assert (summary.flattest, summary.median_ratio, summary.widest) == (0.5, 2.0, 10.0)
    assert (summary.strips, summary.enlarged) == (1, 3)


def test_without_a_size_nothing_is_said_of_enlarging() -> None:
    summary = sizes((32, 32)).summary()
    assert summary is not None
    assert summary.size is summary.enlarged is None


def test_huge_pictures_are_compared_by_all_of_their_pixels() -> None:
    summary = sizes((100_000, 100_000), (2, 2)).summary()
    assert summary is not None
    assert summary.largest == (100_000, 100_000)


def test_no_picture() -> None:
    assert Sizes().summary() is None


@pytest.mark.parametrize(("size", "strips"), [((400, 100), 0), ((401, 100), 1), ((100, 401), 1)])
def test_strips_are_those_that_training_cuts(size: tuple[int, int], strips: int) -> None:
    summary = sizes(size).summary()
    assert summary is not None
    assert summary.strips == strips
