"""Matching of a model's classes to a classifier's logits, by name."""

from collections.abc import Sequence


def logit_indices(class_names: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """Find for each class the classifier's class of that name: its index; None where there is none, or no clear one.

    Of names such as "tench, Tinca tinca" and "crane (bird)", only the first is looked at where the whole ones do not
    match; case and underscores do not matter then. Where several match, the one at the same place
    counts if both have as many classes.

    Args:
        class_names: of the model.
        known: of the classifier.
    """
    whole, first = _places(known), _places([_first(name) for name in known])
    found: list[int | None] = []
    for index, name in enumerate(class_names):
        places = whole.get(name) or first.get(_first(name)) or []
        same_place = len(known) == len(class_names) and index in places
        found.append(places[0] if len(places) == 1 else index if same_place else None)
    return found


def _places(names: Sequence[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        places.setdefault(name, []).append(index)
    return places


def _first(name: str) -> str:
    return name.split(",")[0].split(" (")[0].replace("_", " ").strip().lower()
