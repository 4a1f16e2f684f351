import itertools
import random
from pathlib import Path

import datasets
import pytest
import torch

from dar.data import (
    Augmentation,
    Batch,
    BrokenImage,
    ImageDataset,
    MicroBatches,
    StreamedImages,
    open_images,
    preview_pixels,
    training_stream,
)
from dar.data import in_memory as in_memory_module
from dar.data.stream import AugmentedStream
from dar.errors import DARError
from dar.images import to_pixels
from tests.data.making import NAMES, SIZE, marks, picture, sources, write_parquet, write_tar, write_tars


def test_a_position_of_the_stream_always_holds_the_same(folder: Path) -> None:
    augmentation = Augmentation(4, "random")
    stream = AugmentedStream(ImageDataset(folder), augmentation, seed=3)
    again = AugmentedStream(ImageDataset(folder), augmentation, seed=3)
    positions = [0, 17, 5, 100, 5]
    expected = {position: stream[position] for position in sorted(positions)}
    for position in positions:
        image, broken = again[position]
        assert image.tobytes() == expected[position][0].tobytes()
        assert broken == expected[position][1]


def test_the_same_image_is_augmented_anew_each_epoch(folder: Path) -> None:
    data = ImageDataset(folder)
    stream = AugmentedStream(data, Augmentation(4, "random"), seed=3)
    views: dict[int, set[bytes]] = {}
    for position in range(10 * len(data)):
        views.setdefault(stream.order[position], set()).add(stream[position][0].tobytes())
    assert len(views) == len(data)
    assert all(len(seen) > 1 for seen in views.values())


def counting(data: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The images that are decoded from now on, in order."""
    decoded: list[int] = []
    image = data.image
    monkeypatch.setattr(data, "image", lambda index: (decoded.append(index), image(index))[1])
    return decoded


def test_a_small_set_is_decoded_once(data: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [AugmentedStream(data, Augmentation(4, "random"), seed=3)[k] for k in range(3 * len(data))]
    decoded = counting(data, monkeypatch)
    stream = AugmentedStream(data, Augmentation(4, "random"), seed=3)
    found = [stream[k] for k in range(3 * len(data))]
    assert sorted(decoded) == list(range(len(data)))
    assert [image.tobytes() for image, _ in found] == [image.tobytes() for image, _ in expected]


def test_only_so_many_images_are_kept_as_there_is_room_for(data: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_memory_module, "MAX_KEPT_BYTES", 3 * 3 * 4**2)
    decoded = counting(data, monkeypatch)
    stream = AugmentedStream(data, Augmentation(4, "random"), seed=3)
    for k in range(2 * len(data)):
        _ = stream[k]
    assert len(decoded) == 2 * len(data) - 3


@pytest.mark.usefixtures("broken")
def test_a_broken_image_is_told_of_at_every_visit(data: ImageDataset) -> None:
    stream = AugmentedStream(data, Augmentation(4), seed=3)
    epochs = [sum(len(stream[k][1]) for k in range(n * len(data), (n + 1) * len(data))) for n in range(2)]
    assert epochs == [1, 1]


def assert_same_batches(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.pixels, other.pixels)
        assert one.broken == other.broken


@pytest.fixture
def stream(data: ImageDataset) -> AugmentedStream:
    return AugmentedStream(data, Augmentation(4, "random"), seed=3)


def test_batches_hold_the_stream_in_order(stream: AugmentedStream) -> None:
    found = list(stream.batches(batch_size=4, first=0, last=3, workers=0))
    examples = [stream[i] for i in range(12)]
    assert torch.equal(torch.cat([batch.pixels for batch in found]), to_pixels([image for image, _ in examples]))
    assert found[0].pixels.shape == (4, 3, 4, 4)


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
    assert len(batch.pixels) == 6
    assert len(batch.broken) == 1
    assert str(broken) in batch.broken[0]


@pytest.mark.parametrize("kind", ["folder", "parquet", "webdataset"])
def test_stream_gives_every_image_once_an_epoch(tmp_path: Path, kind: str) -> None:
    path = sources(tmp_path / "data")[kind]
    indexed = ImageDataset(path)
    streamed = StreamedImages(path, shuffle_buffer=4)
    count = len(indexed)
    rows = itertools.islice(streamed.rows(seed=1, position=0), 4 * count)
    seen = [(streamed.image(row, 0).getpixel((0, 0))[0], streamed.label(row, 0)) for row in rows]
    epochs = [seen[i : i + count] for i in range(0, 4 * count, count)]
    assert all(sorted(epoch) == sorted(marks(indexed)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 2
    assert streamed.class_names == indexed.class_names


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 images, one of them broken."""
    return write_tars(tmp_path_factory.mktemp("data") / "tars", broken=(12,))


def streamed_batches(
    source: Path, first: int, last: int, share: MicroBatches | None = None, workers: int = 0, seed: int = 3
) -> list[Batch]:
    images = open_images(source, streaming=True, shuffle_buffer=5)
    stream = training_stream(images, Augmentation(4, "random"), seed)
    return list(stream.batches(12, first, last, workers, share))


@pytest.mark.parametrize(("processes", "pieces"), [(1, 2), (2, 1), (3, 1), (2, 3)])
def test_streamed_batches_do_not_depend_on_processes(tars: Path, processes: int, pieces: int) -> None:
    whole = streamed_batches(tars, 0, 6)
    shares = [streamed_batches(tars, 0, 6, MicroBatches(index, processes, pieces)) for index in range(processes)]
    for step, batch in enumerate(whole):
        parts = [piece for share in shares for piece in share[step * pieces : (step + 1) * pieces]]
        assert torch.equal(torch.cat([part.pixels for part in parts]), batch.pixels)
        assert [message for part in parts for message in part.broken] == batch.broken
    assert {message for batch in whole for message in batch.broken} == {whole_message(tars)}


def whole_message(tars: Path) -> str:
    with pytest.raises(BrokenImage) as caught:
        ImageDataset(tars).example(12)
    return str(caught.value)


@pytest.mark.parametrize("first", [1, 3, 5])
def test_resumed_stream_equals_uninterrupted_one(tars: Path, first: int) -> None:
    assert_same_batches(streamed_batches(tars, first, 6), streamed_batches(tars, 0, 6)[first:])
    share = MicroBatches(1, 3)
    assert_same_batches(streamed_batches(tars, first, 6, share), streamed_batches(tars, 0, 6, share)[first:])


def test_workers_change_no_streamed_batch(tars: Path) -> None:
    assert_same_batches(streamed_batches(tars, 1, 5, workers=2), streamed_batches(tars, 1, 5))


def test_streamed_order_follows_the_seed(tars: Path) -> None:
    one, other = streamed_batches(tars, 0, 2), streamed_batches(tars, 0, 2, seed=4)
    assert not torch.equal(one[0].pixels, other[0].pixels)


def test_streamed_images_are_augmented_by_position(tars: Path) -> None:
    images = StreamedImages(tars, shuffle_buffer=5)
    batch = streamed_batches(tars, 4, 5)[0]
    for i, row in enumerate(itertools.islice(images.rows(3, 48), 12)):
        try:
            image = images.image(row, 0)
        except BrokenImage:
            continue
        expected = Augmentation(4, "random")(image, random.Random(f"3/{48 + i}"))
        assert torch.equal(batch.pixels[i], to_pixels([expected])[0])


def test_resuming_late_reads_one_epoch_at_most_to_get_there(tars: Path) -> None:
    images = StreamedImages(tars)
    read = []
    original = images.epoch
    images.epoch = lambda seed, epoch: read.append(epoch) or original(seed, epoch)  # type: ignore[method-assign]
    next(images.rows(seed=0, position=23 * 1000 + 5))
    assert read == [0, 1000]


def test_stream_of_broken_images_alone_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", range(3), broken=(0, 1, 2))
    with pytest.raises(DARError, match=r"17 images of .* in a row cannot be read; first: 000\d.png in a.tar"):
        streamed_batches(tmp_path / "a.tar", 0, 1)


def test_images_without_class_are_streamed_like_others(tmp_path: Path) -> None:
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    rows = {"img": [picture(i) for i in range(4)], "label": [0, 1, -1, 0]}
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "a.parquet")
    assert len(streamed_batches(tmp_path / "a.parquet", 0, 1)[0].pixels) == 12


def test_images_of_a_stream_to_show(tars: Path) -> None:
    images = open_images(tars, streaming=True)
    shown = preview_pixels(images, SIZE, 4)
    assert shown.shape == (4, 3, SIZE, SIZE)
    assert torch.equal(preview_pixels(images, SIZE, 4), shown)
    assert len(preview_pixels(images, SIZE, 100)) == 22


def test_a_pass_through_parquet_files_waits_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(seconds: float) -> None:
        raise AssertionError(f"slept for {seconds} seconds")

    monkeypatch.setattr("time.sleep", sleep)
    for name in ("a", "b"):
        write_parquet(tmp_path / f"{name}.parquet")
    assert len(streamed_batches(tmp_path, 0, 3)) == 3
