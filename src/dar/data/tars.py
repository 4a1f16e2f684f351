"""WebDataset shards: tar files in which members of one name but for the ending are one sample.

``0001.jpg`` (or any other ending of images), ``0001.cls`` (a class: a whole number or a name) and ``0001.txt`` or
``0001.json`` (a caption) make a sample, also where samples of a set, or of one shard, have images of different endings.
"""

import re
import tarfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from dar.data.columns import CAPTION_NAMES, LABEL_NAMES
from dar.errors import DARError, listed, quoted
from dar.image_files import IMAGE_ENDINGS
from dar.json_text import parse_json, storable

SAMPLED_ROWS = 16
"""Number of first samples that show what a set has."""

Sample = dict[str, tuple[str, bytes]]
"""Name and content of a sample's members, by ending in small letters."""


def tar_rows(files: Sequence[str], image_column: str, label_column: str) -> Iterator[dict[str, Any]]:
    """Give rows of shards: image, label and caption as texts, and the shard. A sample without an image has no bytes.

    Args:
        files: paths of tar files.
        image_column: which ending is the image's; empty takes the only one there is.
        label_column: which ending is the class's; empty takes ``cls``, or else another name of classes.

    Raises:
        DARError: if a file is no tar, a sample has several images, or its members are apart.
    """
    for file in files:
        has_image: dict[str, bool] = {}
        for key, sample in _samples(file):
            name = f"{key} in {Path(file).name}"
            image = _image(sample, image_column, name)
            if key in has_image and not (image and has_image[key]):
                raise DARError(f"the members of {key} in {file} are apart: write those of a sample one after the other")
            has_image[key] = image is not None
            yield {
                "image": {"path": key, "bytes": None} if image is None else {"path": image[0], "bytes": image[1]},
                "label": _label(sample, label_column, name),
                "caption": _caption(sample),
                "shard": file,
            }


def first_rows(source: str, files: Sequence[Path], image_column: str, label_column: str) -> list[dict[str, Any]]:
    """Read the first few rows of a data set, from its first shard that has what is looked for.

    Args:
        source: what the user calls the data.
        files: the shards.
        image_column: see ``tar_rows``.
        label_column: see ``tar_rows``.

    Raises:
        DARError: if there are no images, or nothing of an ending that was chosen; also as of ``tar_rows``.
    """
    rows: list[dict[str, Any]] = []
    for file in files:
        rows = list(islice(tar_rows([str(file)], image_column, label_column), SAMPLED_ROWS))
        labelled = not label_column or any(row["label"] is not None for row in rows)
        if labelled and any(row["image"]["bytes"] is not None for row in rows):
            return rows
    endings = listed({ending for file in files for _, sample in islice(_samples(str(file)), 1) for ending in sample})
    if not endings:
        raise DARError(f"{source} holds no images, since its tar files have no samples: check the path")
    if image_column or label_column:
        chosen = " and ".join(filter(None, (image_column, label_column)))
        raise DARError(
            f"no sample of {source} that was looked at has {chosen}: choose endings that are there, such as {endings}"
        )
    raise DARError(f"{source} holds no images, since the endings of its samples are {endings}: give PNG or JPEG images")


def _samples(file: str) -> Iterator[tuple[str, Sample]]:
    """Give samples in order, each with its name."""
    key, sample = "", Sample()
    for name, content in _members(file):
        match = re.match(r"^((?:.*/|)[^.]+)[.]([^/]*)$", name)
        if match is None:
            continue
        if sample and match[1] != key:
            yield key, sample
            sample = Sample()
        key, ending = match[1], match[2].lower()
        if ending in sample:
            raise DARError(f"{key} in {file} has two members of ending {ending}: give each sample a name of its own")
        sample[ending] = (name, content)
    if sample:
        yield key, sample


def _members(file: str) -> Iterator[tuple[str, bytes]]:
    """Give names and contents of a tar's files; hidden ones are passed over."""
    try:
        with tarfile.open(file) as tar:
            for member in tar:
                parts = member.name.removeprefix("./").split("/")
                if member.isfile() and not parts[-1].startswith("__") and not any(one.startswith(".") for one in parts):
                    content = tar.extractfile(member)
                    assert content is not None  # it is a file
                    yield member.name, content.read()
                tar.members = []  # type: ignore[attr-defined]  # or they would all stay in memory
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DARError(f"{file} cannot be read as a tar file ({quoted(error)}): get it again") from error


def _image(sample: Sample, wanted: str, name: str) -> tuple[str, bytes] | None:
    if wanted:
        return sample.get(wanted.lower())
    fitting = [ending for ending in sample if f".{ending.rpartition('.')[2]}" in IMAGE_ENDINGS]
    if len(fitting) > 1:
        raise DARError(f"{name} has several images, {listed(fitting)}: choose with --image-column")
    return sample[fitting[0]] if fitting else None


def _label(sample: Sample, wanted: str, name: str) -> str | None:
    fitting = [wanted.lower()] if wanted else [one for one in ("cls", *LABEL_NAMES) if one in sample][:1]
    if not fitting or fitting[0] not in sample:
        return None
    try:
        return sample[fitting[0]][1].decode().strip() or None
    except UnicodeDecodeError:
        raise DARError(f"the class of {name} is not text: write a number or a name") from None


def _caption(sample: Sample) -> str | None:
    for ending in ("txt", *CAPTION_NAMES):
        if ending in sample:
            return sample[ending][1].decode(errors="replace").strip()
    if "json" not in sample:
        return None
    try:
        facts = parse_json(sample["json"][1])
    except ValueError:
        return None
    found = (
        [facts[name] for name in CAPTION_NAMES if isinstance(facts.get(name), str)] if isinstance(facts, dict) else []
    )
    return storable(found[0]) if found else None
