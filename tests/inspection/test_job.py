import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from dar.data import ImageDataset, StreamedImages
from dar.errors import DARError
from dar.inspection.job import inspect_data
from dar.inspection.report import DataReport
from tests.data.making import NAMES, SIZE, picture, write_folder, write_parquet, write_tar


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten pictures a class, of which three are there several times and two are broken."""
    folder = write_folder(tmp_path / "images", per_class=10)
    shutil.copy(folder / "ape" / "0.png", folder / "bee" / "same.png")
    picture(1).save(folder / "ape" / "other.bmp")
    shutil.copy(folder / "bee" / "2.png", folder / "bee" / "again.png")
    for name in ("ape/3.png", "bee/3.png"):
        path = folder / name
        path.write_bytes(path.read_bytes()[:60])
    return folder


def report_of(source: Path, **options: object) -> DataReport:
    return inspect_data(ImageDataset(source), **options)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, 2])
def test_everything_is_found(folder: Path, workers: int) -> None:
    report, sheet = inspect_data(ImageDataset(folder), size=16, workers=workers)
    assert report.summary.class_names == ("ape", "bee")
    assert (report.looked_at, report.readable, report.complete) == (23, 21, True)
    assert report.classes == {"ape": 11, "bee": 12}
    assert report.formats == {"PNG": 20, "BMP": 1}
    assert report.modes == {"RGB": 21}
    assert report.sizes is not None
    assert (report.sizes.median, report.sizes.enlarged) == ((SIZE, SIZE), 21)
    assert len(report.broken) == 2
    assert all(f"{name}/3.png" in why for name, why in zip(NAMES, report.broken, strict=True))
    assert report.refusal is report.captions is None
    assert sheet is not None


def test_duplicates_are_told_apart(folder: Path) -> None:
    found = [
        ([Path(name).name for name in one.names], one.classes, one.identical_files)
        for one in report_of(folder).duplicates
    ]
    assert found == [
        (["0.png", "same.png"], ("ape", "bee"), True),
        (["1.png", "other.bmp"], ("ape", "ape"), False),
        (["2.png", "again.png"], ("bee", "bee"), True),
    ]


def test_a_part_is_drawn_from_all_over_and_the_same_each_time(folder: Path) -> None:
    report = report_of(folder, count=6)
    assert (report.looked_at, report.complete) == (6, False)
    assert report.classes == {"ape": 11, "bee": 12}
    again = report_of(folder, count=6)
    assert (again.sizes, again.broken, again.duplicates) == (report.sizes, report.broken, report.duplicates)


def test_too_many_broken_pictures_are_refused_as_in_training(folder: Path) -> None:
    for i in range(20):
        (folder / "ape" / f"bad{i}.png").write_bytes(b"no picture")
    report = report_of(folder)
    assert report.refusal is not None
    assert report.refusal.startswith("22 of the first 43 images of")
    assert report_of(folder, max_broken_share=0.6).refusal is None


def test_broken_pictures_alone_are_refused_and_not_drawn(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    report, sheet = inspect_data(ImageDataset(tmp_path))
    assert sheet is report.sizes is None
    assert report.refusal is not None
    assert "none of the 1 images of" in report.refusal


@pytest.mark.parametrize("make", [write_parquet, lambda path: write_tar(path, range(6))])
def test_streams_are_seen_like_indexed_data(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path / ("a.parquet" if make is write_parquet else "a.tar"))
    indexed, streamed = report_of(path), inspect_data(StreamedImages(path))[0]
    assert streamed.streaming
    assert streamed.complete
    for name in ("looked_at", "classes", "formats", "sizes", "unlabelled"):
        assert getattr(streamed, name) == getattr(indexed, name)


def test_of_a_stream_the_first_images_are_seen(tmp_path: Path) -> None:
    report = inspect_data(StreamedImages(write_parquet(tmp_path / "a.parquet")), count=4)[0]
    assert (report.looked_at, report.complete) == (4, False)
    assert sum(report.classes.values()) == 4


def test_duplicates_in_a_stream_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images")
    shutil.copy(folder / "ape" / "0.png", folder / "bee" / "same.png")
    (duplicate,) = inspect_data(StreamedImages(folder))[0].duplicates
    assert {Path(name).name for name in duplicate.names} == {"0.png", "same.png"}
    assert set(duplicate.classes) == {"ape", "bee"}


def test_captions_and_transparency(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.new("RGBA", (8, 8), (255, 0, 0, 100)).save(tmp_path / f"{name}.png")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a red square"}\n')
    report = report_of(tmp_path)
    assert report.captions is not None
    assert (report.captions.count, report.captions.examples) == (1, ("a red square",))
    assert (report.transparent, report.classes, report.unlabelled) == (2, {}, 0)
    assert report.duplicates[0].captions == ("a red square", "")


def test_an_image_of_an_unnamed_class_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", range(6))
    (tmp_path / "classes.txt").write_text("ape\nbee\n")
    with pytest.raises(DARError, match="is of class 2"):
        report_of(tmp_path)
