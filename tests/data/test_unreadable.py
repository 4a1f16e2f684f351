import pytest

from dar.data import (
    BrokenImages,
)
from dar.errors import DARError


def test_broken_images_are_counted_once(capsys: pytest.CaptureFixture[str]) -> None:
    broken = BrokenImages("photos", 0.01)
    broken.add(100, ["a", "b", "a"])
    broken.add(100, ["b"])
    assert (len(broken), broken.seen) == (2, 200)
    assert "skipped, 2 so far: b" in "".join(capsys.readouterr())


def test_too_large_a_share_of_broken_images_stops() -> None:
    broken = BrokenImages("photos", 0.01)
    broken.add(20, [f"{i}.png is torn" for i in range(10)])
    with pytest.raises(DARError, match=r"11 of the first 21 images of photos .* of 0\.01 allows: .*; first: 0\.png is"):
        broken.add(1, ["10.png is torn"])
    many = BrokenImages("photos", 0.01)
    many.add(2000, [f"{i}.png is torn" for i in range(20)])
    with pytest.raises(DARError, match="21 of the first 2001"):
        many.add(1, ["20.png is torn"])
