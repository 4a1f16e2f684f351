import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from dar.errors import DARError
from dar.samples.opening import open_samples


def test_folders_are_read_in_the_order_of_names_subfolders_included(tmp_path: Path) -> None:
    for name, grey in (("b/2.png", 30), ("a/9.png", 20), ("a/10.bmp", 10), (".hidden/x.png", 99), ("notes.txt", 0)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name == "notes.txt":
            (tmp_path / name).write_text("not an image")
        else:
            Image.new("L", (4, 5), grey).save(tmp_path / name)
    samples = open_samples(tmp_path)
    assert torch.cat(list(samples.batches(2)))[:, 0, 0, 0].tolist() == [10, 20, 30]
    before = samples.hash
    assert open_samples(tmp_path).hash == before
    (tmp_path / "a" / "9.png").rename(tmp_path / "a" / "8.png")
    assert open_samples(tmp_path).hash != before


def test_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DARError, match=r"nowhere does not exist: give an \.npz file of samples, or a folder of images"):
        open_samples(tmp_path / "nowhere")
    with pytest.raises(DARError, match="holds no images: give a folder of PNG files"):
        open_samples(tmp_path)
    Image.new("RGB", (4, 5)).save(tmp_path / "a.png")
    Image.new("RGB", (5, 4)).save(tmp_path / "b.png")
    with pytest.raises(DARError, match=r"b\.png is 5 x 4 pixels, a\.png 4 x 5: all images must have one size"):
        list(open_samples(tmp_path).batches(8))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(DARError, match=r"b\.png (cannot be read|is not an image)"):
        list(open_samples(tmp_path).batches(8))


@pytest.mark.timeout(60)
def test_folders_with_odd_things_in_them_are_read_and_the_rest_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder named like an image, links in circles or to nowhere, pipes, pictures of kinds that are not read."""
    (tmp_path / "x.png").mkdir()
    for i, name in enumerate(("a.png", "x.png/b.jfif", os.fsdecode(b"\xff.png"))):
        Image.new("L", (4, 5), 100 * i).save(tmp_path / name, "PNG")
    (tmp_path / "x.png" / "up").symlink_to("..")
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "c.heic").touch()
    os.mkfifo(tmp_path / "pipe.png")
    samples = open_samples(tmp_path)
    assert torch.cat(list(samples.batches(2)))[:, 0, 0, 0].tolist() == [0, 100]
    assert len(samples.hash) == 64
    said = capsys.readouterr().out
    assert said.startswith(f"left out of {tmp_path}: ")
    for name in ("x.png/up", "gone.png, loop.png, pipe.png", "c.heic", "\ufffd.png"):
        assert name in said


def test_a_file_that_has_become_something_else_is_refused(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("L", (4, 5)).save(tmp_path / name)
    samples = open_samples(tmp_path)
    (tmp_path / "b.png").unlink()
    os.mkfifo(tmp_path / "b.png")
    for use in (lambda: samples.hash, lambda: list(samples.batches(2))):
        with pytest.raises(DARError, match=r"b\.png is a named pipe"):
            use()
