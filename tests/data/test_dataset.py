import io
import json
import os
import random
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from dar.data import (
    UNLABELLED,
    BrokenImage,
    ImageDataset,
    open_images,
    preview_pixels,
)
from dar.data.dataset import first_readable
from dar.errors import DARError
from dar.images import to_pixels
from tests.data.making import NAMES, SIZE, marks, picture, sources, write_folder, write_parquet, write_tar, write_tars


def test_folder_per_class(data: ImageDataset) -> None:
    assert data.class_names == tuple(NAMES)
    assert sorted(marks(data)) == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 1)]


def test_folder_without_classes(tmp_path: Path) -> None:
    for i in range(3):
        picture(i).save(tmp_path / f"{i}.png")
    data = ImageDataset(tmp_path)
    assert data.class_names == ()
    assert sorted(marks(data)) == [(0, UNLABELLED), (1, UNLABELLED), (2, UNLABELLED)]


def test_parquet_file(tmp_path: Path) -> None:
    data = ImageDataset(write_parquet(tmp_path / "train.parquet"))
    assert data.class_names == tuple(NAMES)
    assert marks(data) == [(i, i % 2) for i in range(6)]


def test_folder_of_parquet_files(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", 4)
    write_parquet(tmp_path / "b.parquet", 2)
    assert marks(ImageDataset(str(tmp_path))) == [(0, 0), (1, 1), (2, 0), (3, 1), (0, 0), (1, 1)]


def test_parquet_that_does_not_say_what_its_columns_are(tmp_path: Path, folder: Path) -> None:
    stored = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(folder.rglob("*.png"))]
    parquet.write_table(pa.table({"image": stored}), tmp_path / "bare.parquet")
    assert [mark for mark, _ in marks(ImageDataset(tmp_path / "bare.parquet"))] == list(range(6))


def test_grey_images_become_rgb(tmp_path: Path) -> None:
    Image.new("L", (SIZE, SIZE), 9).save(tmp_path / "grey.png")
    image, _ = ImageDataset(tmp_path).example(0)
    assert image.mode == "RGB"


def test_fingerprint_follows_the_data(tmp_path: Path, folder: Path) -> None:
    other = write_folder(tmp_path / "others", per_class=2)
    assert ImageDataset(folder).fingerprint == ImageDataset(folder).fingerprint
    assert ImageDataset(folder).fingerprint != ImageDataset(other).fingerprint


def test_sources_without_images_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DARError, match="empty holds no images"):
        ImageDataset(tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DARError, match=r"notes.txt is not a data set"):
        ImageDataset(tmp_path / "notes.txt")
    parquet.write_table(pa.table({"number": [1, 2]}), tmp_path / "numbers.parquet")
    with pytest.raises(DARError, match=r"numbers.parquet has no column of images; its columns are number"):
        ImageDataset(tmp_path / "numbers.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DARError, match=r"broken.parquet cannot be read as a Parquet file"):
        ImageDataset(tmp_path / "broken.parquet")


def test_unknown_source_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DARError, match="nowhere does not exist: check the path"):
        ImageDataset(tmp_path / "nowhere")


def test_broken_image_is_named(folder: Path, broken: Path) -> None:
    data = ImageDataset(folder)
    caught = []
    for i in range(len(data)):
        try:
            data.example(i)
        except BrokenImage as error:
            caught.append(str(error))
    assert len(caught) == 1
    assert str(broken) in caught[0]


def test_broken_image_in_parquet_is_named_by_its_row(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image()})
    rows = {"image": [{"bytes": b"no image", "path": None}]}
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "bad.parquet")
    data = ImageDataset(tmp_path / "bad.parquet")
    with pytest.raises(BrokenImage, match=r"row 0 of .*bad.parquet is not an image"):
        data.example(0)


def test_another_image_takes_the_place_of_a_broken_one_each_time(folder: Path, broken: Path) -> None:
    data = ImageDataset(folder)
    taken = [first_readable(data, i, random.Random(0)) for i in range(len(data))]
    assert [image.getpixel((0, 0))[0] for i, (image, _) in enumerate(taken) if i != 1] == [0, 2, 3, 4, 5]
    assert [len(messages) for _, messages in taken] == [0, 1, 0, 0, 0, 0]
    assert str(broken) in taken[1][1][0]
    others = [first_readable(data, 1, random.Random(seed))[0].getpixel((0, 0))[0] for seed in range(50)]
    assert set(others) == {0, 2, 3, 4, 5}


def test_data_with_no_readable_image_is_refused(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        path.write_bytes(b"no image")
    data = ImageDataset(folder)
    with pytest.raises(DARError, match=r"none of the 6 images of .* can be read") as caught:
        first_readable(data, 2, random.Random(0))
    assert not isinstance(caught.value, BrokenImage)


def test_preview_images_are_readable_ones_from_all_over(data: ImageDataset, broken: Path) -> None:
    shown = preview_pixels(data, SIZE, 3)
    readable = to_pixels([data.example(i)[0] for i in (0, 2, 3, 4, 5)])
    assert len(shown) == 3
    assert all((readable == image).flatten(1).all(1).any() for image in shown)
    assert torch.equal(shown, preview_pixels(data, SIZE, 3))
    assert len(preview_pixels(data, SIZE, 100)) == 5


def test_preview_images_are_of_all_kinds_where_classes_take_turns(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list("abcd"))})
    rows = {"image": [picture(i) for i in range(40)], "label": [i % 4 for i in range(40)]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "turns.parquet"))
    shown = preview_pixels(ImageDataset(tmp_path / "turns.parquet"), SIZE, 10)
    marked = ((shown[:, 0, 0, 0] + 1) * 127.5).round().int()  # each picture bears its number
    assert len({int(mark) % 4 for mark in marked}) > 1


def test_folder_names_are_classes_even_where_they_sound_like_splits(tmp_path: Path) -> None:
    for name in ("train", "car/deep", "test"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name / "my_test_photo.png")
    data = ImageDataset(tmp_path)
    assert data.class_names == ("car", "test", "train")
    assert [data.example(i)[1] for i in range(len(data))] == [0, 1, 2]


def test_loose_images_beside_class_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    for name in ("cat/1.png", "stray.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    with pytest.raises(DARError, match=r"loose images such as stray\.png"):
        ImageDataset(tmp_path)


def test_parquet_files_named_after_splits_are_not_mixed(tmp_path: Path) -> None:
    image = io.BytesIO()
    Image.new("RGB", (4, 4)).save(image, "PNG")
    for name, count in (("train", 3), ("test", 2)):
        rows = {"img": [{"bytes": image.getvalue(), "path": None}] * count}
        features = datasets.Features({"img": datasets.Image()})
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / f"{name}-00000.parquet")
    assert len(ImageDataset(tmp_path)) == 3
    assert len(ImageDataset(tmp_path, "test")) == len(ImageDataset(tmp_path, "validation")) == 2
    (tmp_path / "train-00000.parquet").unlink()
    with pytest.raises(DARError, match="none of train"):
        ImageDataset(tmp_path)


@pytest.mark.parametrize("ending", ["png", "webp", "jpg", "jpeg"])
def test_webdataset_shard(tmp_path: Path, ending: str) -> None:
    """Pillow looks at contents, so that a PNG may be called anything."""
    data = ImageDataset(write_tar(tmp_path / "a.tar", range(7), ending))
    assert marks(data) == [(i, i % 3) for i in range(7)]
    assert data.class_names == ("0", "1", "2")


def test_folder_of_webdataset_shards(tmp_path: Path) -> None:
    folder = write_tars(tmp_path / "tars")
    assert marks(ImageDataset(folder)) == [(i, i % 3) for i in range(23)]


@pytest.mark.parametrize("streaming", [False, True])
def test_webdataset_classes_are_numbers_unless_names_lie_beside(tmp_path: Path, streaming: bool) -> None:
    folder = write_tars(tmp_path / "tars")
    assert open_images(folder, streaming=streaming).class_names == ("0", "1", "2")
    (folder / "classes.txt").write_text("ape\nbee\ncat\n")
    assert open_images(folder, streaming=streaming).class_names == ("ape", "bee", "cat")
    (folder / "classes.json").write_text(json.dumps(["a", "b", "c", "d"]))
    assert open_images(folder / "001.tar", streaming=streaming).class_names == ("a", "b", "c", "d")
    for content in ("[1]", "{", '"names"', "[]"):
        (folder / "classes.json").write_text(content)
        with pytest.raises(DARError, match=r"cannot be read|is not a list of names"):
            open_images(folder, streaming=streaming)


def test_webdataset_label_without_a_name_is_refused(tmp_path: Path) -> None:
    folder = write_tars(tmp_path / "tars")
    (folder / "classes.txt").write_text("ape\nbee\n")
    with pytest.raises(DARError, match=r"0002.png in 000.tar is of class 2, but only 2 classes have names"):
        ImageDataset(folder).example(2)


def test_webdataset_without_labels(tmp_path: Path) -> None:
    data = ImageDataset(write_tar(tmp_path / "a.tar", range(3), labelled=False))
    assert data.class_names == ()
    assert marks(data) == [(0, UNLABELLED), (1, UNLABELLED), (2, UNLABELLED)]


def test_broken_image_of_a_webdataset_is_named_with_its_shard(tmp_path: Path) -> None:
    data = ImageDataset(write_tars(tmp_path / "tars", broken=(12,)))
    with pytest.raises(BrokenImage, match=r"0012.png in 001.tar is not an image"):
        data.example(12)


@pytest.mark.parametrize("streaming", [False, True])
def test_tar_that_is_none_is_refused_by_name(tmp_path: Path, streaming: bool) -> None:
    (tmp_path / "bad.tar").write_bytes(b"not a tar file at all")
    with pytest.raises(DARError, match=r"bad.tar cannot be read as a tar file"):
        open_images(tmp_path / "bad.tar", streaming=streaming)


@pytest.mark.parametrize("kind", ["folder", "parquet", "webdataset"])
def test_fingerprint_of_each_kind_follows_the_data_and_not_how_it_is_read(tmp_path: Path, kind: str) -> None:
    path = sources(tmp_path / "data")[kind]
    before = open_images(path).fingerprint
    assert open_images(path).fingerprint == open_images(path, streaming=True).fingerprint == before
    file = path if path.is_file() else sorted(file for file in path.rglob("*.*") if file.is_file())[0]
    os.utime(file, ns=(1, 1))
    assert open_images(path).fingerprint != before
    assert len({open_images(source).fingerprint for source in sources(tmp_path / "others").values()}) == 3
