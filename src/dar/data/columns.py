"""Columns of images, labels and captions, found by their types and names, never by their order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dar.errors import DARError, listed

IMAGE_NAMES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp")
"""Names of columns of plain bytes that are taken for images."""

LABEL_NAMES = ("label", "labels", "class", "cls", "class_label", "class_name")
"""Names of columns of whole numbers, texts or truth values that are taken for classes, in small or capital letters."""

CAPTION_NAMES = ("caption", "text")
"""Names of columns of texts that are taken for captions, by preference."""


@dataclass(frozen=True)
class Columns:
    """The columns of a data set's rows, by their use.

    Attributes:
        image: the undecoded image.
        label: the class, or None where there are no classes.
        label_names: names of the classes, where they are known without reading the labels.
        labels_are: "indices", "texts", or "either": texts that are indices if all are whole numbers.
        rivals: columns that may all be the label; then none is taken until one is chosen.
        caption: the caption, or None.
        shard: the file that a row came from, or None.
        others: where there is no label, all other columns but those of images, for one may be meant.
    """

    image: str
    label: str | None = None
    label_names: tuple[str, ...] | None = None
    labels_are: str = "indices"
    rivals: tuple[str, ...] = ()
    caption: str | None = None
    shard: str | None = None
    others: tuple[str, ...] = ()

    @property
    def wanted(self) -> list[str]:
        """Names of all columns that are ever read."""
        return [name for name in (self.image, self.label, self.caption, self.shard) if name is not None]


def columns_of(source: str, features: Mapping[str, Any], image_column: str = "", label_column: str = "") -> Columns:
    """Find the columns of a table.

    Args:
        source: what the user calls the data.
        features: each column's type, as ``datasets`` has it.
        image_column: the column of images; empty finds it.
        label_column: the column of labels; empty finds it.

    Raises:
        DARError: if there is no column of images, or several; or if a column that was chosen is not there.
    """
    image = _image_column(source, features, image_column)
    labels = _label_columns(source, features, label_column)
    caption = next((name for name in CAPTION_NAMES if is_text(features.get(name)) and name not in labels), None)
    if len(labels) != 1:
        others = () if labels else tuple(set(features) - {image, caption, *image_columns(features)})
        return Columns(image, rivals=tuple(labels), caption=caption, others=others)
    kind = features[labels[0]]
    names = tuple(kind.names) if _is_class_label(kind) else None
    return Columns(image, labels[0], names, "indices" if _is_whole(kind) else "texts", caption=caption)


def image_columns(features: Mapping[str, Any]) -> list[str]:
    """List all columns that may hold images."""
    return [name for name, kind in features.items() if _is_image(kind) or (_is_bytes(kind) and name in IMAGE_NAMES)]


def _image_column(source: str, features: Mapping[str, Any], chosen: str) -> str:
    fitting = image_columns(features)
    if chosen:
        if chosen not in features:
            raise DARError(f"{source} has no column {chosen!r} for --image-column; its columns are {listed(features)}")
        if chosen not in fitting and not _is_bytes(features[chosen]):
            raise DARError(f"column {chosen!r} of {source} holds no images: choose another --image-column")
        return chosen
    if not fitting:
        raise DARError(
            f"{source} has no column of images; its columns are {listed(features)}: "
            "choose one of bytes with --image-column"
        )
    if len(fitting) > 1:
        raise DARError(f"{source} has several columns of images, {listed(fitting)}: choose one with --image-column")
    return fitting[0]


def _label_columns(source: str, features: Mapping[str, Any], chosen: str) -> list[str]:
    """Find the column of labels, all that fit equally well, or none."""
    if chosen:
        if chosen not in features:
            raise DARError(f"{source} has no column {chosen!r} for --label-column; its columns are {listed(features)}")
        if not _is_label(features[chosen]):
            raise DARError(
                f"column {chosen!r} of {source} holds neither whole numbers nor texts: choose another, or convert it"
            )
        return [chosen]
    return label_columns(features)


def label_columns(features: Mapping[str, Any]) -> list[str]:
    """List all columns that fit equally well for the label, or none."""
    tests: list[Callable[[str, Any], bool]] = [
        lambda name, kind: _is_class_label(kind),
        lambda name, kind: name == "cls" and _is_label(kind),
        lambda name, kind: name.lower() in LABEL_NAMES and _is_label(kind),
    ]
    found = ([name for name, kind in features.items() if fits(name, kind)] for fits in tests)
    return next((names for names in found if names), [])


def meaning(kind: Any) -> object:
    """Describe what columns of several files must share to be one: their use, and the names of their classes."""
    if _is_class_label(kind):
        return tuple(kind.names)
    return "image" if _is_image(kind) or _is_bytes(kind) else "text" if is_text(kind) else _is_label(kind)


def is_text(kind: Any) -> bool:
    """Tell whether a type of ``datasets`` is text."""
    return getattr(kind, "dtype", "") in ("string", "large_string", "string_view")


def _is_label(kind: Any) -> bool:
    return is_text(kind) or _is_whole(kind) or getattr(kind, "dtype", "") == "bool"


def _is_whole(kind: Any) -> bool:
    return str(getattr(kind, "dtype", "")).startswith(("int", "uint"))


def _is_class_label(kind: Any) -> bool:
    return type(kind).__name__ == "ClassLabel"


def _is_image(kind: Any) -> bool:
    return type(kind).__name__ == "Image" or (isinstance(kind, dict) and "bytes" in kind)


def _is_bytes(kind: Any) -> bool:
    return getattr(kind, "dtype", "") in ("binary", "large_binary")
