import pytest

from dar.evaluate.classes import logit_indices
from dar.prior.imagenet import usual_names


@pytest.mark.parametrize(
    ("names", "known", "expected"),
    [
        (["cat", "dog"], ["dog", "cat", "eel"], [1, 0]),
        (["tench", "sea_lion"], ["sea lion", "tench, Tinca tinca"], [1, 0]),
        (["crane (bird)", "crane (machine)"], ["crane", "crane"], [0, 1]),
        (["crane (bird)"], ["crane", "crane"], [None]),
        (["cat", "Cat"], ["Cat", "cat"], [1, 0]),
        (["cat"], [], [None]),
        ([], ["cat"], []),
    ],
)
def test_classes_are_found_by_name(names: list[str], known: list[str], expected: list[int | None]) -> None:
    assert logit_indices(names, known) == expected


def test_imagenets_classes_are_found_among_lists_of_synonyms() -> None:
    names = usual_names(1000)
    assert names is not None
    synonyms = [f"{name.split(' (')[0]}, another name" for name in names]
    assert logit_indices(names, synonyms) == list(range(1000))
