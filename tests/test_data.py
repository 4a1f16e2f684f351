import io
import random
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
    AugmentedStream,
    Batch,
    BrokenImage,
    EndlessOrder,
    ImageDataset,
    Share,
    batches,
    evenly_spread,
    first_readable,
)
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
    found = list(batches(stream, batch_size=4, first=0, last=3, workers=0))
    examples = [stream[i] for i in range(12)]
    assert torch.equal(torch.cat([batch.pixels for batch in found]), to_pixels([image for image, _, _ in examples]))
    assert torch.cat([batch.labels for batch in found]).tolist() == [label for _, label, _ in examples]
    assert found[0].pixels.shape == (4, 3, 4, 4)
    assert found[0].labels.dtype == torch.int64


def test_resumed_batches_equal_uninterrupted_ones(stream: AugmentedStream, folder: Path) -> None:
    whole = list(batches(stream, batch_size=4, first=0, last=5, workers=0))
    fresh = AugmentedStream(ImageDataset(folder), Augmentation(4, "random"), seed=3)
    assert_same_batches(list(batches(fresh, batch_size=4, first=3, last=5, workers=0)), whole[3:])


def test_workers_change_nothing(stream: AugmentedStream) -> None:
    alone = list(batches(stream, batch_size=4, first=1, last=4, workers=0))
    assert_same_batches(list(batches(stream, batch_size=4, first=1, last=4, workers=1)), alone)


def test_batches_report_broken_images_and_stay_full(folder: Path, broken: Path) -> None:
    stream = AugmentedStream(ImageDataset(folder), Augmentation(SIZE), seed=0)
    (batch,) = batches(stream, batch_size=6, first=0, last=1, workers=0)
    assert len(batch.pixels) == len(batch.labels) == 6
    assert len(batch.broken) == 1
    assert str(broken) in batch.broken[0]


def test_evenly_spread_images_come_from_all_over(data: ImageDataset) -> None:
    spread = evenly_spread(data, SIZE, 3)
    assert torch.equal(spread, to_pixels([data.example(i)[0] for i in (0, 2, 4)]))
    assert len(evenly_spread(data, SIZE, 100)) == 6


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
