from typing import Any

import pytest

from dar.data.classes import name_in
from dar.data.columns import Columns


@pytest.mark.parametrize(
    ("names", "value", "name"),
    [
        (("cat", "dog"), 1, "dog"),
        (("cat", "dog"), "1", "dog"),
        (("cat", "dog"), "dog", "dog"),
        (("1", "0"), "1", "1"),
        (None, 3, "3"),
        (None, "bird", "bird"),
        (("cat",), -1, None),
        (None, "", None),
        (None, None, None),
    ],
)
def test_one_row_names_its_class(names: tuple[str, ...] | None, value: Any, name: str | None) -> None:
    assert name_in(Columns("image", "label", names), {"label": value}) == name


def test_without_a_column_there_is_no_class() -> None:
    assert name_in(Columns("image"), {}) is None
