"""Names of splits, in names of folders and files."""

import re
from collections.abc import Collection

from dar.errors import DARError

SPLIT_WORDS = {
    "train": frozenset({"train", "training"}),
    "validation": frozenset({"val", "valid", "validation", "dev"}),
    "test": frozenset({"test", "testing"}),
}
"""Names of each split in folders and files."""


def split_called(name: str) -> str | None:
    """Find the split that a whole name stands for, or None.

    >>> split_called("Val"), split_called("trains")
    ('validation', None)
    """
    return next((split for split, names in SPLIT_WORDS.items() if name.lower() in names), None)


def splits_in(name: str) -> set[str]:
    """List the splits among the words of a name, which end at anything but a letter.

    >>> splits_in("train-00000-of-00002.parquet"), splits_in("latest.tar")
    ({'train'}, set())
    """
    return {split for word in re.split(r"[\W\d_]+", name) if (split := split_called(word))}


def split_within(name: str) -> tuple[str, str] | None:
    """Find the split that one word of a name stands for, and the name around it; None where no word or several do.

    >>> split_within("train2017"), split_within("Val"), split_within("trains")
    (('train', '*2017'), ('validation', '*'), None)
    """
    words = re.split(r"([\W\d_]+)", name)
    found = [i for i, word in enumerate(words) if split_called(word)]
    if len(found) != 1:
        return None
    (place,) = found
    return str(split_called(words[place])), "".join([*words[:place], "*", *words[place + 1 :]])


def choose_split(name: str, wanted: str, there: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """Choose the split to read, and explain the choice; test stands in for a missing validation split.

    Raises:
        DARError: if the split is not there.
    """
    wanted = split_called(wanted) or wanted
    if wanted in there:
        return wanted, ()
    if wanted == "validation" and "test" in there:
        return "test", ("its split test stands in for validation, which it does not have",)
    raise DARError(f"{name} has the split {', '.join(sorted(there))}, none of {wanted}: name the folder or file itself")
