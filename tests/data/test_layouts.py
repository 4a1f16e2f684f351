"""Every layout of docs/data.md, and what each is read as: built from tiny pictures, indexed and streamed."""

import io
import json
import multiprocessing
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from dar.data import Augmentation, DataSummary, ImageDataset, MicroBatches, StreamedImages, open_images, training_stream
from dar.errors import DARError
from tests.data.making import picture, png

Build = Callable[[Path], Path]
"""Makes a set in an empty folder and returns what is given to --data."""


@dataclass(frozen=True)
class Layout:
    """A set, and what it is to be read as.

    Attributes:
        build: makes it.
        kind: what the summary calls it.
        images: number and class of each picture that is read, in any order; the class None where there is none.
        class_names: one a label.
        split: the split that the summary names.
        asked: the split that is asked for.
        left_out: beginnings of what is said of files that are left out.
        notes: parts of what else is said.
        captions: some caption.
        options: of ``open_images``.
    """

    build: Build
    kind: str
    images: list[tuple[int, str | None]]
    class_names: tuple[str, ...] = ()
    split: str | None = None
    asked: str = "train"
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    captions: str | None = None
    options: tuple[tuple[str, str], ...] = ()


def files(*names: str, given: str = "", texts: dict[str, str] | None = None) -> Build:
    """Pictures, the first of which is number 0, and other files by their texts."""

    def build(root: Path) -> Path:
        for i, name in enumerate(names):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(i))
        for name, text in (texts or {}).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root / given

    return build


def table(path: Path, numbers: list[int], column: str = "image", **columns: Any) -> Path:
    """A Parquet file; values of other columns may come with their type of ``datasets``."""
    features = {column: datasets.Image()}
    rows: dict[str, Any] = {column: [{"bytes": png(i), "path": None} for i in numbers]}
    for name, values in columns.items():
        rows[name], features[name] = values if isinstance(values, tuple) else (values, _type_of(values))
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(rows, datasets.Features(features)).to_parquet(path)
    return path


def _type_of(values: list[Any]) -> Any:
    if isinstance(values[0], bytes):
        return datasets.Value("binary")
    return datasets.Value("int64" if isinstance(values[0], int) else "string")


def tables(given: str = "", **numbers: list[int]) -> Build:
    """Parquet files by name, with ``__`` for a folder and ``_`` for a hyphen."""

    def build(root: Path) -> Path:
        for name, of in numbers.items():
            table(root / f"{name.replace('__', '/').replace('_', '-')}.parquet", of)
        return root / given

    return build


def tar(path: Path, *samples: dict[str, bytes | str], apart: dict[str, bytes | str] | None = None) -> Path:
    """A WebDataset shard of samples, each by ending; ``apart`` are more members of the first, behind all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for i, sample in [*enumerate(samples), (0, apart or {})]:
            for ending, content in sample.items():
                content = content.encode() if isinstance(content, str) else content
                member = tarfile.TarInfo(f"{i:04d}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def tars(given: str = "", **numbers: list[int]) -> Build:
    """Tars by name, as ``tables``."""

    def build(root: Path) -> Path:
        for name, of in numbers.items():
            tar(root / f"{name.replace('__', '/').replace('_', '-')}.tar", *({"png": png(i)} for i in of))
        return root / given

    return build


def then(build: Build, *more: Callable[[Path], object]) -> Build:
    """A set with something else beside it."""

    def both(root: Path) -> Path:
        given = build(root)
        for add in more:
            add(root)
        return given

    return both


def bare_table(name: str) -> Callable[[Path], object]:
    """A Parquet file without images, as img2dataset writes one beside each tar."""
    return lambda root: parquet.write_table(pa.table({"url": ["a", "b"]}), root / name)


def text(name: str, content: str = "hello") -> Callable[[Path], object]:
    def write(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)

    return write


def unlabelled(*numbers: int) -> list[tuple[int, str | None]]:
    return [(i, None) for i in numbers]


CAT_DOG = [(0, "cat"), (1, "dog")]
CLASS_LABEL = datasets.ClassLabel(names=["cat", "dog"])
IMAGENET = ("train/cat/0.png", "train/dog/1.png", "val/cat/2.png", "val/dog/3.png")

LAYOUTS = {
    # Folders of images.
    "loose images": Layout(files("0.png", "1.jpg"), "image folder", unlabelled(0, 1)),
    "images of many endings": Layout(
        files("0.avif", "1.JFIF", "2.jpe", "3.WebP"), "image folder", unlabelled(0, 1, 2, 3)
    ),
    "class folders": Layout(files("cat/0.png", "dog/1.png"), "class folders", CAT_DOG, ("cat", "dog")),
    "deep class folders": Layout(
        files("cat/images/0.png", "dog/images/1.png"), "class folders", CAT_DOG, ("cat", "dog")
    ),
    "more folders in class folders": Layout(
        files("cat/0.png", "dog/1.png", "cat/more/2.png"),
        "class folders",
        [*CAT_DOG, (2, "cat")],
        ("cat", "dog"),
    ),
    "sessions in class folders": Layout(
        files("cat/a/0.png", "dog/a/1.png", "cat/b/2.png", "dog/b/3.png"),
        "class folders",
        [*CAT_DOG, (2, "cat"), (3, "dog")],
        ("cat", "dog"),
    ),
    "nested classes": Layout(
        files("animals/cat/0.png", "animals/dog/1.png", "plants/tree/2.png"),
        "class folders",
        [*CAT_DOG, (2, "tree")],
        ("cat", "dog", "tree"),
        notes=("classes are the folders that hold the images, such as animals/cat",),
    ),
    "unpacked wrapper": Layout(
        files("photos/photos/cat/0.png", "photos/photos/dog/1.png"), "class folders", CAT_DOG, ("cat", "dog")
    ),
    "one class folder": Layout(files("cat/0.png", "cat/1.png"), "class folders", [(0, "cat"), (1, "cat")], ("cat",)),
    "split folders": Layout(
        files(*IMAGENET), "class folders", CAT_DOG, ("cat", "dog"), "train", left_out=("2 images of other splits (val",)
    ),
    "split folders, validation": Layout(
        files(*IMAGENET), "class folders", [(2, "cat"), (3, "dog")], ("cat", "dog"), "validation", "validation"
    ),
    "split folders in a wrapper": Layout(
        files(*(f"imagenet/{name}" for name in IMAGENET)), "class folders", CAT_DOG, ("cat", "dog"), "train"
    ),
    "split folders with equal words around": Layout(
        files("train2017/cat/0.png", "train2017/dog/1.png", "val2017/cat/2.png", "val2017/dog/3.png"),
        "class folders",
        CAT_DOG,
        ("cat", "dog"),
        "train",
        left_out=("2 images of other splits (val2017",),
    ),
    "class folders with names of splits among their words": Layout(
        files("train car/0.png", "test tube/1.png"),
        "class folders",
        [(0, "train car"), (1, "test tube")],
        ("test tube", "train car"),
    ),
    "split folders without classes": Layout(
        files("Training/0.png", "Testing/1.png"), "image folder", unlabelled(0), split="train"
    ),
    "test stands in": Layout(
        files("train/0.png", "test/1.png"),
        "image folder",
        unlabelled(1),
        split="test",
        asked="validation",
        notes=("test stands in for validation",),
    ),
    "a split folder itself": Layout(files(*IMAGENET, given="train"), "class folders", CAT_DOG, ("cat", "dog")),
    "train is a class": Layout(
        files("train/0.png", "car/1.png"),
        "class folders",
        [(0, "train"), (1, "car")],
        ("car", "train"),
        notes=("train taken for a class, since car bears no name of a split",),
    ),
    "other files": Layout(
        files("cat/0.png", "dog/1.png", texts={"notes.txt": "", "cat/x.heic": "", "bird/readme.md": ""}),
        "class folders",
        CAT_DOG,
        ("cat", "dog"),
        left_out=(
            "1 picture of a kind that is not read, to be converted to PNG or JPEG (cat/x.heic)",
            "2 other files (bird/readme.md, notes.txt)",
        ),
        notes=("no images in the folder bird",),
    ),
    "hidden files": Layout(
        files("cat/0.png", "dog/1.png", "cat/._0.png", ".ipynb_checkpoints/2.png", "__MACOSX/cat/3.png"),
        "class folders",
        CAT_DOG,
        ("cat", "dog"),
    ),
    "table of metadata beside images": Layout(
        then(files("cat/0.png", "dog/1.png"), bare_table("metadata.parquet")),
        "class folders",
        CAT_DOG,
        ("cat", "dog"),
        left_out=("1 table without images (metadata.parquet)",),
    ),
    "linked class folder": Layout(
        then(files("in/cat/0.png", "else/1.png", given="in"), lambda root: (root / "in/dog").symlink_to(root / "else")),
        "class folders",
        CAT_DOG,
        ("cat", "dog"),
    ),
    "links in circles": Layout(
        then(
            files("cat/0.png", "dog/1.png"),
            lambda root: (root / "cat/up").symlink_to(root),
            lambda root: (root / "dog/itself").symlink_to(root / "dog/itself"),
            lambda root: os.mkfifo(root / "dog/pipe.png"),
        ),
        "class folders",
        CAT_DOG,
        ("cat", "dog"),
        left_out=("2 broken links, pipes or devices", "1 link that leads in a circle (cat/up)"),
    ),
    "metadata.jsonl": Layout(
        files("0.png", "1.png", texts={"metadata.jsonl": '{"file_name": "0.png", "text": "a cat"}\n'}),
        "image folder",
        unlabelled(0, 1),
        captions="a cat",
    ),
    "metadata.csv": Layout(
        files("cat/0.png", "dog/1.png", texts={"cat/metadata.csv": 'file_name,caption\n0.png,"a cat, sitting"\n'}),
        "class folders",
        CAT_DOG,
        ("cat", "dog"),
        captions="a cat, sitting",
    ),
    "metadata.csv with empty texts and other names": Layout(
        files("0.png", "1.png", texts={"metadata.csv": "\ufefffile_name,text\n0.png,a cat\n1.png,\n2.png,x\n"}),
        "image folder",
        unlabelled(0, 1),
        captions="a cat",
        notes=("1 caption is of no image that is there (",),
    ),
    "metadata.jsonl without captions": Layout(
        files("0.png", texts={"metadata.jsonl": '{"file_name": "0.png", "tags": "cat"}\n'}),
        "image folder",
        unlabelled(0),
        notes=("no captions in ",),
    ),
    # Parquet.
    "Parquet file": Layout(
        lambda root: table(root / "x.parquet", [0, 1], label=([0, 1], CLASS_LABEL)), "Parquet", CAT_DOG, ("cat", "dog")
    ),
    "Parquet, unlabelled images": Layout(
        lambda root: table(root / "x.parquet", [0, 1], label=([0, -1], CLASS_LABEL)),
        "Parquet",
        [(0, "cat"), (1, None)],
        ("cat", "dog"),
    ),
    "Parquet, numbers as labels": Layout(
        lambda root: table(root / "x.parquet", [0, 1, 2], label=[0, 2, -1]),
        "Parquet",
        [(0, "0"), (1, "2"), (2, None)],
        ("0", "1", "2"),
        notes=("no images of 1 of the classes (1)",),
    ),
    "Parquet, texts as labels": Layout(
        lambda root: table(root / "x.parquet", [0, 1, 2], label=["dog", "cat", ""]),
        "Parquet",
        [(0, "dog"), (1, "cat"), (2, None)],
        ("cat", "dog"),
    ),
    "Parquet, truth values as labels": Layout(
        lambda root: table(root / "x.parquet", [0, 1], Label=([True, False], datasets.Value("bool"))),
        "Parquet",
        [(0, "True"), (1, "False")],
        ("False", "True"),
    ),
    "Parquet, labels that are none": Layout(
        lambda root: table(
            root / "x.parquet",
            [0, 1],
            mask=([{"bytes": png(9), "path": None}] * 2, datasets.Image()),
            label=([0.5, None], datasets.Value("float64")),
            fine_label=[0, 1],
        ),
        "Parquet",
        unlabelled(0, 1),
        options=(("image_column", "image"),),
        notes=("no column is known for the class (others: fine_label, label): choose one with --label-column",),
    ),
    "Parquet, categories of pandas": Layout(
        lambda root: _categories(root / "x.parquet"), "Parquet", CAT_DOG, ("cat", "dog")
    ),
    "Parquet, chosen columns": Layout(
        lambda root: table(
            root / "x.parquet",
            [0, 1],
            column="left",
            right=([{"bytes": png(9), "path": None}] * 2, datasets.Image()),
            fine=([0, 1], CLASS_LABEL),
            coarse=([0, 0], datasets.ClassLabel(names=["animal"])),
        ),
        "Parquet",
        CAT_DOG,
        ("cat", "dog"),
        options=(("image_column", "left"), ("label_column", "fine")),
    ),
    "Parquet, plain bytes": Layout(lambda root: _bytes(root / "x.parquet"), "Parquet", CAT_DOG, ("cat", "dog")),
    "Parquet, captions": Layout(
        lambda root: table(root / "x.parquet", [0, 1, 2], caption=["a cat", "a dog", ""]),
        "Parquet",
        unlabelled(0, 1, 2),
        captions="a dog",
    ),
    "folder of Parquet files": Layout(tables(a=[0], b=[1, 2]), "Parquet", unlabelled(0, 1, 2)),
    "Parquet files of several writers": Layout(
        lambda root: (
            (
                table(root / "a.parquet", [0], label=([0], datasets.Value("int64"))),
                table(root / "b.parquet", [1], label=([1], datasets.Value("int32"))),
                parquet.write_table(
                    pa.table({"label": [0], "image": [{"path": "2.png", "bytes": png(2)}]}), root / "c.parquet"
                ),
            )
            and root
        ),
        "Parquet",
        [(0, "0"), (1, "1"), (2, "0")],
        ("0", "1"),
    ),
    "Parquet files of splits": Layout(
        tables(train_00000_of_00002=[0], train_00001_of_00002=[1], val_0=[2], test=[3]),
        "Parquet",
        unlabelled(0, 1),
        split="train",
        left_out=("2 files of other splits (test.parquet, val-0.parquet)",),
    ),
    "Parquet files, one missing": Layout(
        tables(train_00000_of_00003=[0], train_00002_of_00003=[1]),
        "Parquet",
        unlabelled(0, 1),
        split="train",
        notes=("1 file is missing of those that their names count",),
    ),
    "Parquet files, some without a split": Layout(
        tables(train=[0], extra=[1]),
        "Parquet",
        unlabelled(0),
        split="train",
        left_out=("1 file that names no split (extra.parquet)",),
    ),
    "Parquet as the Hub converts it": Layout(
        tables(default__train__0000=[0], default__train__0001=[1], default__test__0000=[2]),
        "Parquet",
        unlabelled(2),
        split="test",
        asked="validation",
    ),
    "no split, only words like one": Layout(tables(latest_00000=[0], trains=[1]), "Parquet", unlabelled(0, 1)),
    "Parquet and a table without images": Layout(
        then(tables(images=[0]), bare_table("facts.parquet")),
        "Parquet",
        unlabelled(0),
        left_out=("1 table without images (facts.parquet)",),
    ),
    "Parquet, hidden files": Layout(
        then(
            tables(x=[0], _ipynb_checkpoints__x_checkpoint=[0]),
            lambda root: (root / "-ipynb-checkpoints").rename(root / ".ipynb_checkpoints"),
            text("._x.parquet"),
        ),
        "Parquet",
        unlabelled(0),
    ),
    "Parquet, a name with brackets": Layout(
        lambda root: (tables(run1=[1])(root), table(root / "run[1].parquet", [0]))[1], "Parquet", unlabelled(0)
    ),
    "Parquet, a name with stars": Layout(
        lambda root: (tables(run1=[1])(root), table(root / "a*/r?n*.parquet", [0]))[1], "Parquet", unlabelled(0)
    ),
    # WebDataset.
    "tar": Layout(
        lambda root: tar(root / "x.tar", {"jpg": png(0), "cls": "1"}, {"jpg": png(1), "cls": "0"}),
        "WebDataset",
        [(0, "1"), (1, "0")],
        ("0", "1"),
    ),
    "tar, named classes": Layout(
        lambda root: (
            text("classes.txt", "cat\ndog\n")(root),
            tar(root / "x.tar", {"jpg": png(0), "cls": "0"}, {"jpg": png(1), "cls": "1"}),
        )[1],
        "WebDataset",
        CAT_DOG,
        ("cat", "dog"),
    ),
    "tar, named classes as Windows writes them": Layout(
        lambda root: (
            text("classes.txt", "\ufeffcat\r\ndog\r\n\r\n")(root),
            tar(root / "x.tar", {"jpg": png(0), "cls": "cat"}, {"jpg": png(1), "cls": "dog"}),
        )[1],
        "WebDataset",
        CAT_DOG,
        ("cat", "dog"),
    ),
    "tar, texts as classes": Layout(
        lambda root: tar(root / "x.tar", {"png": png(0), "cls": "cat"}, {"png": png(1), "cls": "dog\n"}),
        "WebDataset",
        CAT_DOG,
        ("cat", "dog"),
    ),
    "tar, a sample without class": Layout(
        lambda root: tar(root / "x.tar", {"png": png(0), "cls": "0"}, {"png": png(1)}),
        "WebDataset",
        [(0, "0"), (1, None)],
        ("0",),
    ),
    "tars of several endings": Layout(
        lambda root: (
            (
                tar(root / "0.tar", {"jpg": png(0), "cls": "0"}, {"png": png(1), "cls": "1"}),
                tar(root / "1.tar", {"JPEG": png(2), "cls": "2"}, {"webp": png(3), "cls": "0"}),
            )
            and root
        ),
        "WebDataset",
        [(0, "0"), (1, "1"), (2, "2"), (3, "0")],
        ("0", "1", "2"),
    ),
    "tar, chosen ending": Layout(
        lambda root: tar(root / "x.tar", {"jpg": png(0), "seg.png": png(9)}, {"jpg": png(1), "seg.png": png(9)}),
        "WebDataset",
        unlabelled(0, 1),
        options=(("image_column", "jpg"),),
    ),
    "tar, captions": Layout(
        lambda root: tar(root / "x.tar", {"png": png(0), "txt": "a cat"}, {"png": png(1), "txt": "a dog"}),
        "WebDataset",
        unlabelled(0, 1),
        captions="a dog",
    ),
    "tars of img2dataset": Layout(
        then(
            lambda root: tar(root / "00000.tar", {"jpg": png(0), "json": json.dumps({"caption": "a cat"})}).parent,
            bare_table("00000.parquet"),
            text("00000_stats.json", "{}"),
        ),
        "WebDataset",
        unlabelled(0),
        left_out=("1 other file (00000_stats.json)", "1 table without images (00000.parquet)"),
        captions="a cat",
    ),
    "tars of splits in folders": Layout(
        tars(train__0000=[0], train__0001=[1], val__0000=[2]), "WebDataset", unlabelled(0, 1), split="train"
    ),
    "tars with words like splits": Layout(
        tars("cat", cat__trains=[0], cat__ships=[1], cat__latest=[2]), "WebDataset", unlabelled(0, 1, 2)
    ),
    "tars in folders": Layout(tars(cat__0=[0], dog__0=[1]), "WebDataset", unlabelled(0, 1)),
    "tars, hidden files": Layout(then(tars(x=[0]), text("._0.tar")), "WebDataset", unlabelled(0)),
    "tar, a name with brackets": Layout(
        lambda root: (tars(run1=[1])(root), tar(root / "run[1].tar", {"png": png(0)}))[1],
        "WebDataset",
        unlabelled(0),
    ),
}
"""By what they are called in docs/data.md."""


def _bytes(path: Path) -> Path:
    parquet.write_table(pa.table({"image": [png(0), png(1)], "label": ["cat", "dog"], "hash": [b"a", b"b"]}), path)
    return path


def _categories(path: Path) -> Path:
    images = [{"bytes": png(i), "path": None} for i in range(2)]
    parquet.write_table(pa.table({"image": images, "label": pa.array(["cat", "dog"]).dictionary_encode()}), path)
    return path


def read(data: ImageDataset | StreamedImages) -> list[tuple[int, str | None]]:
    """Number and class of each picture."""
    if isinstance(data, ImageDataset):
        pairs = [data.example(i) for i in range(len(data))]
    else:
        pairs = [(data.image(row, i), data.label(row, i)) for i, row in enumerate(data.epoch(0, 0))]
    return sorted((image.getpixel((0, 0))[0], None if label < 0 else data.class_names[label]) for image, label in pairs)


@pytest.mark.parametrize("streaming", [False, True], ids=["indexed", "streamed"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_is_read_as_the_table_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, streaming: bool
) -> None:
    layout = LAYOUTS[name]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # paths are given from another working directory
    (tmp_path / "set").mkdir()
    given = os.path.relpath(layout.build(tmp_path / "set"))
    data = open_images(given, layout.asked, streaming=streaming, shuffle_buffer=4, **dict(layout.options))
    assert read(data) == sorted(layout.images, key=str)
    assert data.class_names == layout.class_names
    check_summary(data.summary, layout, streaming)
    if layout.captions is not None and isinstance(data, ImageDataset):
        assert layout.captions in [data.caption(i) for i in range(len(data))]
        assert all(
            caption is None or (isinstance(caption, str) and caption) for caption in map(data.caption, range(len(data)))
        )


def check_summary(summary: DataSummary, layout: Layout, streaming: bool) -> None:
    assert (summary.kind, summary.split, summary.captions) == (layout.kind, layout.split, bool(layout.captions))
    said = [str(left) for left in summary.left_out]
    for expected in layout.left_out:
        assert any(one.startswith(expected) for one in said), said
    if layout.left_out:
        assert len(said) == len(layout.left_out)
    for expected in layout.notes:
        counted = expected.startswith("no images of")  # takes a pass through the data
        assert (streaming and counted) or any(expected in note for note in summary.notes), summary.notes
    if not streaming:
        assert (summary.images, summary.class_names) == (len(layout.images), layout.class_names)
        wanted = sum(label is None for _, label in layout.images) if layout.class_names else 0
        assert summary.unlabelled == wanted
    elif layout.kind == "WebDataset":
        assert summary.images is None
    else:
        assert summary.images == len(layout.images)
    assert json.loads(json.dumps(summary.as_dict()))["source"] == summary.source
    assert summary.sentence().startswith(f"{summary.source}: ")


REFUSED: dict[str, tuple[Build, str, str]] = {
    "a tar beside class folders": (
        then(files("cat/0.png", "dog/1.png"), lambda root: tar(root / "n01440764.tar", {"png": png(2)})),
        "train",
        r"holds both 2 images \(cat/0.png, dog/1.png\) and 1 tar file \(n01440764.tar\): name what is meant",
    ),
    "Parquet beside images": (
        then(files("0.png"), tables(x=[1])),
        "train",
        "holds both 1 image .* and 1 Parquet file ",
    ),
    "loose images beside class folders": (files("cat/0.png", "1.png"), "train", "loose images such as 1.png"),
    "unclear classes": (
        files("cat/a/0.png", "cat/b/1.png", "dog/a/2.png"),
        "train",
        r"not clear which folders of .* are its classes, since cat/a, dog/a bear the same names",
    ),
    "classes of different depths": (
        files("cat/0.png", "dog/small/1.png", "dog/large/2.png"),
        "train",
        r"not clear which folders of .* are its classes, since the images of cat lie less deep than others",
    ),
    "no such split of folders": (files("val/0.png"), "train", r"has the split validation, none of train"),
    "two folders of a split": (files("val/0.png", "valid/1.png"), "train", "two folders of validation, val and valid"),
    "no such split of files": (tables(test_0=[0]), "train", "has the split test, none of train"),
    "no such split, but files without one": (
        tables(test_0=[0], extra=[1]),
        "train",
        r"\(of which extra.parquet names no split\) has the split test, none of train",
    ),
    "two splits in a name": (tables(train_val=[0]), "train", "names of several splits, train and validation"),
    "several configurations": (
        tables(plain__train__0000=[0], other__train__0000=[1]),
        "train",
        "holds several sets of splits, in other, plain",
    ),
    "several configurations, by names of files": (
        tables(plain__train_00000_of_00001=[0], other__train_00000_of_00001=[1]),
        "train",
        "holds several sets of splits, in other, plain",
    ),
    "no such file": (lambda root: root / "x.parquet", "train", "there is no data set at .*x.parquet: check the path"),
    "no such folder": (lambda root: root / "x", "train", "there is no data set at .*x: check the path"),
    "labels in some files": (
        lambda root: (table(root / "a.parquet", [0]), table(root / "b.parquet", [1], label=[1])) and root,
        "train",
        "column 'label' of .*b.parquet is not as in .*a.parquet",
    ),
    "a damaged metadata.jsonl": (
        files("0.png", texts={"metadata.jsonl": "{"}),
        "train",
        r"^line 1 of \S+metadata.jsonl is not a JSON object \([^)]*\([^)]*\)\): write it again$",
    ),
    "only HEIC": (
        files(texts={"0.heic": "x", "1.heic": "x"}),
        "train",
        "holds no images, only 2 pictures of kinds that are not read",
    ),
    "several columns of images": (
        lambda root: table(root / "x.parquet", [0], mask=([{"bytes": png(1), "path": None}], datasets.Image())),
        "train",
        r"several columns of images, image, mask: choose one with --image-column",
    ),
    "several images in a sample": (
        lambda root: tar(root / "x.tar", {"jpg": png(0), "mask.png": png(1)}),
        "train",
        r"0000 in x.tar has several images, jpg, mask.png: choose with --image-column",
    ),
    "Parquet files of other classes": (
        lambda root: (
            (
                table(root / "a.parquet", [0], label=([0], CLASS_LABEL)),
                table(root / "b.parquet", [1], label=([0], datasets.ClassLabel(names=["dog", "cat"]))),
            )
            and root
        ),
        "train",
        r"column 'label' of .*b.parquet is not as in .*a.parquet",
    ),
    "empty Parquet file": (
        lambda root: table(root / "x.parquet", []),
        "train",
        r"x.parquet holds no images",
    ),
    "a tar without samples": (lambda root: tar(root / "x.tar"), "train", r"x.tar holds no images"),
    "a file of no bytes": (
        lambda root: (root / "x.parquet").write_bytes(b"") * 0 or root / "x.parquet",
        "train",
        r"x.parquet cannot be read as a Parquet file",
    ),
    "a tar of other things": (
        lambda root: tar(root / "x.tar", {"heic": "x", "json": "{}"}, {"heic": "x"}),
        "train",
        r"x.tar holds no images, since the endings of its samples are heic, json: give PNG or JPEG",
    ),
    "a sample whose members are apart": (
        lambda root: tar(root / "x.tar", {"png": png(0)}, {"png": png(1)}, apart={"cls": "0"}),
        "train",
        r"the members of 0000 in .*x.tar are apart",
    ),
    "a damaged tar": (
        lambda root: (root / "x.tar").write_bytes(b"no tar at all") * 0 or root / "x.tar",
        "train",
        r"x.tar cannot be read as a tar file",
    ),
    "a pipe": (
        lambda root: os.mkfifo(root / "x.parquet") or root / "x.parquet",  # type: ignore[func-returns-value]
        "train",
        r"x.parquet is not a data set",
    ),
    "numbers too large for classes": (
        lambda root: table(root / "x.parquet", [0], label=[10**9]),
        "train",
        r"numbers up to 1000000000, too large to count classes",
    ),
}


@pytest.mark.parametrize("streaming", [False, True], ids=["indexed", "streamed"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_one_way_is_refused_in_a_sentence(tmp_path: Path, name: str, streaming: bool) -> None:
    build, split, message = REFUSED[name]
    given = build(tmp_path)
    with pytest.raises(DARError, match=message) as caught:
        open_images(given, split, streaming=streaming).class_names  # noqa: B018
    assert "\n" not in str(caught.value)


def test_several_columns_of_labels_matter_only_where_labels_do(tmp_path: Path) -> None:
    both = {"fine": ([1], CLASS_LABEL), "coarse": ([0], datasets.ClassLabel(names=["animal"]))}
    data = ImageDataset(table(tmp_path / "x.parquet", [0], **both))
    assert data.image(0).size == picture(0).size
    assert "any of the columns fine, coarse: choose with --label-column" in data.summary.sentence()
    with pytest.raises(DARError, match=r"fine, coarse: choose one with --label-column"):
        data.class_names  # noqa: B018
    assert ImageDataset(tmp_path / "x.parquet", label_column="fine").example(0)[1] == 1


@pytest.mark.parametrize("option", ["image_column", "label_column"])
def test_a_chosen_column_must_be_there_and_fit(tmp_path: Path, option: str) -> None:
    path = table(tmp_path / "x.parquet", [0], size=([[1, 2]], datasets.Sequence(datasets.Value("int64"))))
    with pytest.raises(DARError, match=r"has no column 'other' .*its columns are image, size"):
        ImageDataset(path, **{option: "other"})
    with pytest.raises(DARError, match=r"column 'size' of .* holds n"):
        ImageDataset(path, **{option: "size"})
    with pytest.raises(DARError, match=r"is a folder of images, without columns"):
        ImageDataset(files("0.png")(tmp_path / "folder"), **{option: "image"})


@pytest.mark.parametrize("streaming", [False, True], ids=["indexed", "streamed"])
@pytest.mark.parametrize("option", ["image_column", "label_column"])
def test_a_chosen_ending_of_a_tar_must_be_there(tmp_path: Path, option: str, streaming: bool) -> None:
    path = tar(tmp_path / "x.tar", {"png": png(0), "cls": "0"})
    with pytest.raises(DARError, match=r"no sample of .*x.tar .* has nope: choose endings .* such as cls, png"):
        open_images(path, streaming=streaming, **{option: "nope"})


def test_samples_without_an_image_are_broken_by_name(tmp_path: Path) -> None:
    data = ImageDataset(tar(tmp_path / "x.tar", {"png": png(0)}, {"cls": "0"}))
    with pytest.raises(DARError, match=r"^0001 in x.tar holds no image$"):
        data.image(1)


def test_a_sentence_says_what_was_found(tmp_path: Path) -> None:
    build = files(*IMAGENET, "train/bird/4.png", "train/fish/5.png", texts={"train/notes.txt": ""})
    sentence = ImageDataset(build(tmp_path / "in")).summary.sentence()
    assert sentence == (
        f"{tmp_path / 'in'}: 4 images of 4 classes (bird, cat, dog, …), split train; "
        "left out: 1 other file (train/notes.txt), 2 images of other splits (val/cat/2.png, val/dog/3.png)"
    )


def test_rows_may_name_files_of_their_own_folder_alone(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in" / "0.png", tmp_path / "1.png"
    inside.parent.mkdir()
    for path, number in ((inside, 0), (outside, 1)):
        path.write_bytes(png(number))
    paths = ["0.png", str(inside), "../1.png", str(outside), "https://example.org/1.png", "hf://datasets/a/b/1.png"]
    rows = [{"bytes": None, "path": path} for path in paths]
    features = datasets.Features({"image": datasets.Image()})
    table_file = tmp_path / "in" / "x.parquet"
    parquet.write_table(pa.table({"image": rows}), table_file)
    assert features
    data = ImageDataset(table_file)
    assert [data.image(i).getpixel((0, 0))[0] for i in range(2)] == [0, 0]
    for i in range(2, len(paths)):
        with pytest.raises(DARError, match=r"has no bytes but a path that leads out of the data|does not exist"):
            data.image(i)


def pieces_of(given: str, streaming: bool, rank: int, size: int) -> tuple[torch.Tensor, str]:
    """What one process sees of three batches, and what it says of the data."""
    images = open_images(given, streaming=streaming, shuffle_buffer=4)
    batches = training_stream(images, Augmentation(8, flip=False), seed=0).batches(4, 0, 3, 0, MicroBatches(rank, size))
    return torch.stack([batch.pixels for batch in batches]), images.summary.sentence()


@pytest.mark.parametrize("streaming", [False, True], ids=["indexed", "streamed"])
@pytest.mark.parametrize("name", ["split folders", "Parquet files of splits", "tars of several endings"])
def test_two_processes_read_what_one_does(tmp_path: Path, name: str, streaming: bool) -> None:
    given = str(LAYOUTS[name].build(tmp_path))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        (one, said), (other, also_said) = pool.starmap(pieces_of, [(given, streaming, rank, 2) for rank in range(2)])
    whole, sentence = pieces_of(given, streaming, 0, 1)
    assert torch.equal(torch.cat([one, other], dim=1), whole)
    assert said == also_said == sentence


def test_a_set_of_the_hub_is_read_by_the_types_of_its_columns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only the download is left out: what comes from the Hub is a table of ``datasets``."""
    stored = datasets.Dataset.from_parquet(str(table(tmp_path / "x.parquet", [0, 1], label=([0, -1], CLASS_LABEL))))
    asked = []

    def load(name: str, split: str, streaming: bool = False) -> Any:
        asked.append((name, split))
        return stored.to_iterable_dataset() if streaming else stored

    monkeypatch.setattr(datasets, "load_dataset", load)
    for streaming in (False, True):
        data = open_images("someone/pets", "test", streaming=streaming)
        assert read(data) == [(0, "cat"), (1, None)]
        assert data.summary.sentence().startswith("someone/pets: ")
        assert (data.summary.kind, data.summary.split) == ("Hub", "test")
    assert asked == [("someone/pets", "test")] * 2


def test_a_cache_that_cannot_be_written_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file" / "cache")
    for path in (table(tmp_path / "x.parquet", [0]), tar(tmp_path / "x.tar", {"png": png(0)})):
        with pytest.raises(DARError, match=r"file/cache, cannot be written \(.*\): free space, or set HF_HOME"):
            ImageDataset(path)
