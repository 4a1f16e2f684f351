import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from dar.data import (
    Augmentation,
    Batch,
    BrokenImage,
    BrokenImages,
    EndlessOrder,
    ImageDataset,
    Share,
    StreamedImages,
    in_workers,
    open_images,
    preview_pixels,
    training_stream,
)
from dar.data.dataset import first_readable
from dar.data.stream import AugmentedStream
from dar.errors import DARError
from dar.images import to_pixels

NAMES = ["ape", "bee"]
SIZE = 8


def picture(i: int) -> Image.Image:
    values = np.random.RandomState(i).randint(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    values[0, 0] = i  # tells pictures apart
    return Image.fromarray(values)


def write_folder(folder: Path, per_class: int = 3) -> Path:
    for label, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            picture(label * per_class + i).save(folder / name / f"{i}.png")
    return folder


def write_parquet(path: Path, count: int = 6) -> Path:
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    rows = {"img": [picture(i) for i in range(count)], "label": [i % 2 for i in range(count)]}
    datasets.Dataset.from_dict(rows, features).to_parquet(path)
    return path


@pytest.fixture(autouse=True)
def _no_long_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """datasets waits for Arrow's threads at the end of each pass through Parquet files."""
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.1)


def png(i: int) -> bytes:
    file = io.BytesIO()
    picture(i).save(file, "PNG")
    return file.getvalue()


def write_tar(
    path: Path, images: range, ending: str = "png", broken: tuple[int, ...] = (), labelled: bool = True
) -> Path:
    """A WebDataset shard; image i is of class i mod 3."""
    with tarfile.open(path, "w") as tar:
        for i in images:
            members = {ending: b"no image" if i in broken else png(i)}
            if labelled:
                members["cls"] = str(i % 3).encode()
            for name, content in members.items():
                member = tarfile.TarInfo(f"{i:04d}.{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def write_tars(folder: Path, counts: tuple[int, ...] = (9, 7, 7), broken: tuple[int, ...] = ()) -> Path:
    folder.mkdir()
    start = 0
    for shard, count in enumerate(counts):
        write_tar(folder / f"{shard:03d}.tar", range(start, start + count), broken=broken)
        start += count
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "images")


@pytest.fixture
def data(folder: Path) -> ImageDataset:
    return ImageDataset(folder)


@pytest.fixture
def broken(folder: Path) -> Path:
    """Half an image among the good ones."""
    path = folder / "ape" / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    return path


def marks(data: ImageDataset) -> list[tuple[int, int]]:
    examples = [data.example(i) for i in range(len(data))]
    return [(image.getpixel((0, 0))[0], label) for image, label in examples]


def test_folder_per_class(data: ImageDataset) -> None:
    assert data.class_names == tuple(NAMES)
    assert sorted(marks(data)) == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 1)]


def test_folder_without_classes(tmp_path: Path) -> None:
    for i in range(3):
        picture(i).save(tmp_path / f"{i}.png")
    data = ImageDataset(tmp_path)
    assert data.class_names == ()
    assert sorted(marks(data)) == [(0, 0), (1, 0), (2, 0)]


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
    with pytest.raises(DARError, match=r"broken.parquet cannot be opened as a data set"):
        ImageDataset(tmp_path / "broken.parquet")


def test_unknown_source_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DARError, match="nowhere cannot be opened as a data set"):
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


def test_the_next_image_takes_the_place_of_a_broken_one(folder: Path, broken: Path) -> None:
    data = ImageDataset(folder)
    taken = [first_readable(data, i) for i in range(len(data))]
    assert [image.getpixel((0, 0))[0] for image, _, _ in taken] == [0, 2, 2, 3, 4, 5]
    assert [len(complaints) for *_, complaints in taken] == [0, 1, 0, 0, 0, 0]
    assert str(broken) in taken[1][2][0]


def test_data_with_no_readable_image_is_refused(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        path.write_bytes(b"no image")
    data = ImageDataset(folder)
    with pytest.raises(DARError, match=r"none of the 6 images of .* can be read") as caught:
        first_readable(data, 2)
    assert not isinstance(caught.value, BrokenImage)


def test_order_visits_each_item_once_an_epoch() -> None:
    order = EndlessOrder(10, seed=1)
    epochs = [[order[10 * epoch + i] for i in range(10)] for epoch in range(4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_order_does_not_depend_on_how_it_is_read() -> None:
    forwards = EndlessOrder(7, seed=1)
    expected = [forwards[i] for i in range(28)]
    positions = list(range(28))
    random.Random(0).shuffle(positions)
    jumping = EndlessOrder(7, seed=1)
    found = {position: jumping[position] for position in positions}
    assert [found[i] for i in range(28)] == expected


def test_order_follows_the_seed() -> None:
    one, other = EndlessOrder(50, seed=1), EndlessOrder(50, seed=2)
    assert [one[i] for i in range(50)] != [other[i] for i in range(50)]


def test_centre_augmentation_only_mirrors() -> None:
    image = picture(1)
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    augment = Augmentation(SIZE, "centre", flip=True)
    results = {augment(image, random.Random(seed)).tobytes() for seed in range(50)}
    assert results == {image.tobytes(), mirrored.tobytes()}
    still = Augmentation(SIZE, "centre", flip=False)
    assert {still(image, random.Random(seed)).tobytes() for seed in range(50)} == {image.tobytes()}


def test_half_of_the_images_are_mirrored() -> None:
    image = picture(1)
    augment = Augmentation(SIZE)
    kept = sum(augment(image, random.Random(seed)).tobytes() == image.tobytes() for seed in range(400))
    assert 150 < kept < 250


def test_random_crop_reaches_every_place() -> None:
    image = Image.fromarray(np.tile(np.arange(12, dtype=np.uint8)[None, :, None], (SIZE, 1, 3)))
    augment = Augmentation(SIZE, "random", flip=False)
    crops = [augment(image, random.Random(seed)) for seed in range(100)]
    assert {crop.size for crop in crops} == {(SIZE, SIZE)}
    assert {crop.getpixel((0, 0))[0] for crop in crops} == set(range(5))


def test_a_position_of_the_stream_always_holds_the_same(folder: Path) -> None:
    augmentation = Augmentation(4, "random")
    stream = AugmentedStream(ImageDataset(folder), augmentation, seed=3)
    again = AugmentedStream(ImageDataset(folder), augmentation, seed=3)
    positions = [0, 17, 5, 100, 5]
    expected = {position: stream[position] for position in sorted(positions)}
    for position in positions:
        image, label, broken = again[position]
        assert image.tobytes() == expected[position][0].tobytes()
        assert (label, broken) == expected[position][1:]


def test_the_same_image_is_augmented_anew_each_epoch(folder: Path) -> None:
    data = ImageDataset(folder)
    stream = AugmentedStream(data, Augmentation(4, "random"), seed=3)
    views: dict[int, set[bytes]] = {}
    for position in range(10 * len(data)):
        views.setdefault(stream.order[position], set()).add(stream[position][0].tobytes())
    assert len(views) == len(data)
    assert all(len(seen) > 1 for seen in views.values())


def assert_same_batches(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.pixels, other.pixels)
        assert torch.equal(one.labels, other.labels)
        assert one.broken == other.broken


@pytest.fixture
def stream(data: ImageDataset) -> AugmentedStream:
    return AugmentedStream(data, Augmentation(4, "random"), seed=3)


def test_batches_hold_the_stream_in_order(stream: AugmentedStream) -> None:
    found = list(stream.batches(batch_size=4, first=0, last=3, workers=0))
    examples = [stream[i] for i in range(12)]
    assert torch.equal(torch.cat([batch.pixels for batch in found]), to_pixels([image for image, _, _ in examples]))
    assert torch.cat([batch.labels for batch in found]).tolist() == [label for _, label, _ in examples]
    assert found[0].pixels.shape == (4, 3, 4, 4)
    assert found[0].labels.dtype == torch.int64


def test_resumed_batches_equal_uninterrupted_ones(stream: AugmentedStream, folder: Path) -> None:
    whole = list(stream.batches(batch_size=4, first=0, last=5, workers=0))
    fresh = AugmentedStream(ImageDataset(folder), Augmentation(4, "random"), seed=3)
    assert_same_batches(list(fresh.batches(batch_size=4, first=3, last=5, workers=0)), whole[3:])


def test_workers_change_nothing(stream: AugmentedStream) -> None:
    alone = list(stream.batches(batch_size=4, first=1, last=4, workers=0))
    assert_same_batches(list(stream.batches(batch_size=4, first=1, last=4, workers=1)), alone)


def test_batches_report_broken_images_and_stay_full(folder: Path, broken: Path) -> None:
    stream = AugmentedStream(ImageDataset(folder), Augmentation(SIZE), seed=0)
    (batch,) = stream.batches(batch_size=6, first=0, last=1, workers=0)
    assert len(batch.pixels) == len(batch.labels) == 6
    assert len(batch.broken) == 1
    assert str(broken) in batch.broken[0]


def test_preview_images_are_readable_ones_from_all_over(data: ImageDataset, broken: Path) -> None:
    shown = preview_pixels(data, SIZE, 3)
    readable = to_pixels([data.example(i)[0] for i in (0, 2, 3, 4, 5)])
    assert len(shown) == 3
    assert all((readable == image).flatten(1).all(1).any() for image in shown)
    assert torch.equal(shown, preview_pixels(data, SIZE, 3))
    assert len(preview_pixels(data, SIZE, 100)) == 6


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


@pytest.mark.parametrize(("processes", "pieces"), [(1, 1), (2, 1), (1, 3), (2, 3), (6, 2)])
def test_shares_cover_each_batch_once_and_in_order(processes: int, pieces: int) -> None:
    for batch in (0, 5):
        shares = [Share(index, processes, pieces).positions(12, batch) for index in range(processes)]
        assert all(len(share) == pieces for share in shares)
        joined = [position for share in shares for piece in share for position in piece]
        assert joined == list(range(12 * batch, 12 * batch + 12))


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(DARError, match="a batch of 12 cannot be shared by 5 processes in 2 pieces each"):
        Share(0, 5, 2).positions(12, 0)


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
    assert marks(data) == [(0, 0), (1, 0), (2, 0)]


def test_broken_image_of_a_webdataset_is_named_with_its_shard(tmp_path: Path) -> None:
    data = ImageDataset(write_tars(tmp_path / "tars", broken=(12,)))
    with pytest.raises(BrokenImage, match=r"0012.png in 001.tar is not an image"):
        data.example(12)


@pytest.mark.parametrize("streaming", [False, True])
def test_tar_that_is_none_is_refused_by_name(tmp_path: Path, streaming: bool) -> None:
    (tmp_path / "bad.tar").write_bytes(b"not a tar file at all")
    with pytest.raises(DARError, match=r"bad.tar cannot be opened as a data set"):
        open_images(tmp_path / "bad.tar", streaming=streaming)


def sources(root: Path) -> dict[str, Path]:
    root.mkdir()
    return {
        "folder": write_folder(root / "folder"),
        "parquet": write_parquet(root / "a.parquet"),
        "webdataset": write_tars(root / "tars"),
    }


@pytest.mark.parametrize("kind", ["folder", "parquet", "webdataset"])
def test_fingerprint_of_each_kind_follows_the_data_and_not_how_it_is_read(tmp_path: Path, kind: str) -> None:
    path = sources(tmp_path / "data")[kind]
    before = open_images(path).fingerprint
    assert open_images(path).fingerprint == open_images(path, streaming=True).fingerprint == before
    file = path if path.is_file() else sorted(file for file in path.rglob("*.*") if file.is_file())[0]
    os.utime(file, ns=(1, 1))
    assert open_images(path).fingerprint != before
    assert len({open_images(source).fingerprint for source in sources(tmp_path / "others").values()}) == 3


@pytest.mark.parametrize("kind", ["folder", "parquet", "webdataset"])
def test_stream_gives_every_image_once_an_epoch(tmp_path: Path, kind: str) -> None:
    path = sources(tmp_path / "data")[kind]
    indexed = ImageDataset(path)
    streamed = StreamedImages(path, shuffle_buffer=4)
    count = len(indexed)
    rows = itertools.islice(streamed.rows(seed=1, position=0), 4 * count)
    examples = [streamed.read(row, 0) for row in rows]
    seen = [(image.getpixel((0, 0))[0], label) for image, label in examples]
    epochs = [seen[i : i + count] for i in range(0, 4 * count, count)]
    assert all(sorted(epoch) == sorted(marks(indexed)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 2
    assert streamed.class_names == indexed.class_names


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 images, one of them broken."""
    return write_tars(tmp_path_factory.mktemp("data") / "tars", broken=(12,))


def streamed_batches(
    source: Path, first: int, last: int, share: Share | None = None, workers: int = 0, seed: int = 3
) -> list[Batch]:
    images = open_images(source, streaming=True, shuffle_buffer=5)
    stream = training_stream(images, Augmentation(4, "random"), seed)
    return list(stream.batches(12, first, last, workers, share))


@pytest.mark.parametrize(("processes", "pieces"), [(1, 2), (2, 1), (3, 1), (2, 3)])
def test_streamed_batches_do_not_depend_on_processes(tars: Path, processes: int, pieces: int) -> None:
    whole = streamed_batches(tars, 0, 6)
    shares = [streamed_batches(tars, 0, 6, Share(index, processes, pieces)) for index in range(processes)]
    for step, batch in enumerate(whole):
        parts = [piece for share in shares for piece in share[step * pieces : (step + 1) * pieces]]
        assert torch.equal(torch.cat([part.pixels for part in parts]), batch.pixels)
        assert torch.equal(torch.cat([part.labels for part in parts]), batch.labels)
        assert [message for part in parts for message in part.broken] == batch.broken
    assert {message for batch in whole for message in batch.broken} == {whole_message(tars)}


def whole_message(tars: Path) -> str:
    with pytest.raises(BrokenImage) as caught:
        ImageDataset(tars).example(12)
    return str(caught.value)


@pytest.mark.parametrize("first", [1, 3, 5])
def test_resumed_stream_equals_uninterrupted_one(tars: Path, first: int) -> None:
    assert_same_batches(streamed_batches(tars, first, 6), streamed_batches(tars, 0, 6)[first:])
    share = Share(1, 3)
    assert_same_batches(streamed_batches(tars, first, 6, share), streamed_batches(tars, 0, 6, share)[first:])


def test_workers_change_no_streamed_batch(tars: Path) -> None:
    assert_same_batches(streamed_batches(tars, 1, 5, workers=2), streamed_batches(tars, 1, 5))


def test_streamed_order_follows_the_seed(tars: Path) -> None:
    one, other = streamed_batches(tars, 0, 2), streamed_batches(tars, 0, 2, seed=4)
    assert not torch.equal(one[0].labels, other[0].labels) or not torch.equal(one[1].labels, other[1].labels)


def test_streamed_images_are_augmented_by_position(tars: Path) -> None:
    images = StreamedImages(tars, shuffle_buffer=5)
    batch = streamed_batches(tars, 4, 5)[0]
    for i, row in enumerate(itertools.islice(images.rows(3, 48), 12)):
        try:
            image, label = images.read(row, 0)
        except BrokenImage:
            continue
        expected = Augmentation(4, "random")(image, random.Random(f"3/{48 + i}"))
        assert torch.equal(batch.pixels[i], to_pixels([expected])[0])
        assert batch.labels[i] == label


def test_resuming_late_reads_one_epoch_at_most_to_get_there(tars: Path) -> None:
    images = StreamedImages(tars)
    read = []
    original = images._epoch
    images._epoch = lambda seed, epoch: read.append(epoch) or original(seed, epoch)  # type: ignore[method-assign]
    next(images.rows(seed=0, position=23 * 1000 + 5))
    assert read == [0, 1000]


def test_stream_of_broken_images_alone_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", range(3), broken=(0, 1, 2))
    with pytest.raises(DARError, match=r"17 images of .* in a row cannot be read; first: 000\d.png in a.tar"):
        streamed_batches(tmp_path / "a.tar", 0, 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_image_without_class_stops_a_stream_in_one_sentence(tmp_path: Path, workers: int) -> None:
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    rows = {"img": [picture(i) for i in range(4)], "label": [0, 1, -1, 0]}
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DARError, match=r"has no class: use a split that is labelled$") as caught:
        streamed_batches(tmp_path / "a.parquet", 0, 1, workers=workers)
    assert "Traceback" not in str(caught.value)


def test_images_of_a_stream_to_show(tars: Path) -> None:
    images = open_images(tars, streaming=True)
    shown = preview_pixels(images, SIZE, 4)
    assert shown.shape == (4, 3, SIZE, SIZE)
    assert torch.equal(preview_pixels(images, SIZE, 4), shown)
    assert len(preview_pixels(images, SIZE, 100)) == 22


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


def kill_itself_at_three(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def refuse_three(item: int) -> int:
    if item == 3:
        raise DARError("three is too much: use two")
    return item


def test_killed_worker_is_told_in_one_sentence() -> None:
    handler = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(DARError, match=r"worker process that decodes images died.*lower the number of workers"):
        list(in_workers(kill_itself_at_three, range(100), workers=2))
    assert signal.getsignal(signal.SIGCHLD) == handler


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_keep_the_order_and_pass_errors_on(workers: int) -> None:
    results = in_workers(refuse_three, iter(range(7)), workers)
    assert list(itertools.islice(results, 3)) == [0, 1, 2]
    with pytest.raises(DARError, match=r"^three is too much: use two$"):
        next(results)


def test_a_program_can_end_while_workers_are_still_wanted() -> None:
    program = (
        "import itertools, sys; from dar.data import in_workers; "
        "sys.kept = in_workers(abs, itertools.count(), workers=2); print(next(sys.kept))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "0\n"
