import hashlib
import random

from dar.inspection.duplicates import DIGEST_BYTES, FILE_DIGEST_BYTES, Fingerprints


def fingerprints(*pictures: tuple[int, str, str]) -> Fingerprints:
    found = Fingerprints()
    for place, pixels, file in pictures:
        found.add(
            place,
            hashlib.blake2b(pixels.encode(), digest_size=DIGEST_BYTES).digest(),
            hashlib.blake2b(file.encode(), digest_size=FILE_DIGEST_BYTES).digest(),
        )
    return found


def test_groups_of_equal_pictures_in_order() -> None:
    found = fingerprints((3, "cat", "f"), (5, "dog", "g"), (6, "cat", "f"), (7, "cow", "h"), (9, "dog", "other"))
    assert list(found.groups()) == [([3, 6], True), ([5, 9], False)]


def test_no_groups() -> None:
    assert list(Fingerprints().groups()) == []
    assert list(fingerprints((0, "cat", "f")).groups()) == []
    assert list(fingerprints((0, "cat", "f"), (1, "dog", "f")).groups()) == []


def test_many_pictures_in_any_order() -> None:
    pictures = [(i, str(i % 500), str(i)) for i in range(1000)]
    random.Random(0).shuffle(pictures)
    assert list(fingerprints(*pictures).groups()) == [([i, i + 500], False) for i in range(500)]
