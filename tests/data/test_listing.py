"""What lies in a folder, and what of it is left out."""

import os
from pathlib import Path

import pytest

from dar.data.listing import list_folder
from dar.errors import DARError


def touched(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def images(folder: Path) -> list[str]:
    return ["/".join(parts) for parts in list_folder(folder).files.get("images", [])]


def left_out(folder: Path) -> list[str]:
    return [str(skipped) for skipped in list_folder(folder).left_out]


def test_images_are_told_by_their_endings_and_come_in_the_order_of_paths(tmp_path: Path) -> None:
    touched(tmp_path, "b/2.JPG", "b/10.jpe", "a/x.jfif", "a/y.AVIF", "a b/z.tif", "0.png", "notes.txt", "a/png")
    assert images(tmp_path) == ["0.png", "a/x.jfif", "a/y.AVIF", "a b/z.tif", "b/10.jpe", "b/2.JPG"]
    assert left_out(tmp_path) == ["2 other files (a/png, notes.txt)"]


def test_hidden_files_and_folders_are_passed_over_unless_the_folder_itself_is_hidden(tmp_path: Path) -> None:
    touched(tmp_path, ".data/a.png", ".data/.b.png", ".data/._a.png", ".data/.ipynb_checkpoints/a.png")
    assert not images(tmp_path)
    assert images(tmp_path / ".data") == ["a.png"]
    assert not left_out(tmp_path / ".data")


def test_a_folder_named_like_an_image_is_a_folder(tmp_path: Path) -> None:
    touched(tmp_path, "x.png/a.png", "y.png/.hidden")
    assert images(tmp_path) == ["x.png/a.png"]
    assert not left_out(tmp_path)


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touched(tmp_path, "data/cat/a.png", "elsewhere/dog/b.png")
    (tmp_path / "data" / "dog").symlink_to("../elsewhere/dog")
    (tmp_path / "data" / "cat" / "up").symlink_to("..")
    (tmp_path / "elsewhere" / "dog" / "self").symlink_to(".")
    assert images(tmp_path / "data") == ["cat/a.png", "dog/b.png"]
    assert left_out(tmp_path / "data") == ["2 links that lead in circles (cat/up, dog/self)"]


@pytest.mark.timeout(60)
def test_what_is_no_file_or_has_no_name_is_left_out_unopened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    touched(tmp_path, os.fsdecode(b"\xff.png"))
    assert not images(tmp_path)
    assert left_out(tmp_path) == [
        "3 broken links, pipes or devices (gone.png, loop.png, pipe.png)",
        "1 name that is not UTF-8 (\ufffd.png)",
    ]


def test_pictures_of_kinds_that_are_not_read_are_counted_with_the_remedy(tmp_path: Path) -> None:
    touched(tmp_path, "a.HEIC", "b.heif", "c.jxl", "d.dng", "e.png", "g.eps")
    assert left_out(tmp_path) == [
        "5 pictures of kinds that are not read, to be converted to PNG or JPEG (a.HEIC, b.heif, c.jxl, …)"
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_a_folder_that_cannot_be_listed_is_refused(tmp_path: Path) -> None:
    touched(tmp_path, "cat/a.png")
    (tmp_path / "cat").chmod(0)
    with pytest.raises(DARError, match="cat cannot be opened"):
        list_folder(tmp_path)
