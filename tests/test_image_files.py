"""Which files are taken for images, and what becomes of those that are none, hostile, or no files at all."""

import os
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dar.errors import DARError
from dar.image_files import (
    IMAGE_ENDINGS,
    MAX_PIXELS,
    decoding,
    opened_image,
)
from dar.images import read_image
from tests.test_images import encoded

NOISE = Image.fromarray(np.random.RandomState(0).randint(0, 256, (12, 20, 3), dtype=np.uint8))
READ_KINDS = ["PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("name", "said"),
    [("gone", "does not exist"), ("loop", "cannot be opened"), ("pipe", "is a named pipe, not a file")],
)
def test_links_to_nowhere_and_pipes_are_refused_by_name(tmp_path: Path, name: str, said: str) -> None:
    path = tmp_path / f"{name}.png"
    os.mkfifo(path) if name == "pipe" else path.symlink_to(path if name == "loop" else "nowhere")
    with pytest.raises(DARError, match=rf"{name}\.png {said}"):
        read_image(path)


@pytest.mark.parametrize("name", [b"\xff.png", b"a\nb.png"])
def test_names_that_are_no_text_or_hold_line_breaks(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(encoded(NOISE, "PNG"))
    assert read_image(path).size == NOISE.size
    path.write_bytes(b"none")
    with pytest.raises(DARError, match=r"\?.*\.png is not an image") as caught:
        read_image(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("ending", sorted(IMAGE_ENDINGS))
def test_files_of_every_ending_are_read(tmp_path: Path, ending: str) -> None:
    kind = Image.registered_extensions().get(ending, "JPEG")
    image = NOISE.convert("1") if ending == ".pbm" else NOISE.convert("L") if ending == ".pgm" else NOISE
    (tmp_path / f"a{ending}").write_bytes(encoded(image, kind))
    assert read_image(tmp_path / f"a{ending}").size == NOISE.size


@pytest.mark.parametrize("kind", ["DDS", "ICO", "JPEG2000", "PCX", "SGI", "TGA"])
def test_other_kinds_that_pillow_knows_are_refused_with_the_remedy(kind: str) -> None:
    with pytest.raises(DARError, match="the image is not an image that can be read: convert it to PNG or JPEG"):
        read_image(encoded(NOISE.resize((32, 32)), kind))


def test_no_program_is_started_for_what_postscript_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(NOISE, "EPS")
    (tmp_path / "a.png").write_bytes(content)
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    for source in (tmp_path / "a.png", content):
        with pytest.raises(DARError, match="convert it to PNG or JPEG"):
            read_image(source, "a.png")
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"msf1"])
def test_heic_is_refused_with_the_remedy(brand: bytes) -> None:
    content = struct.pack(">I4s4sI4s4s", 24, b"ftyp", brand, 0, b"mif1", b"heic") + bytes(200)
    with pytest.raises(DARError, match=r"photo\.jpg .*convert it to PNG or JPEG"):
        read_image(content, "photo.jpg")


def test_raw_files_are_not_taken_for_the_thumbnail_that_they_begin_with(tmp_path: Path) -> None:
    for name in ("a.tif", "a.DNG", "a.nef"):
        (tmp_path / name).write_bytes(encoded(NOISE, "TIFF"))
    assert read_image(tmp_path / "a.tif").size == NOISE.size
    for name in ("a.DNG", "a.nef"):
        with pytest.raises(DARError, match=f"{name} is not an image that can be read: convert it to PNG or JPEG"):
            read_image(tmp_path / name)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A picture that claims a size, with chunks before its data."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(chunks)
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("width", "height"), [(20_000, 20_000), (2**31 - 1, 2**31 - 1), (2**27 + 1, 1), (1, 2**27 + 1)]
)
def test_more_pixels_than_are_read_are_refused_before_decoding(width: int, height: int) -> None:
    with pytest.raises(
        DARError, match=f"a.png has {width} x {height} pixels, more than the {MAX_PIXELS} that are read"
    ):
        read_image(png(width, height), "a.png")


def test_the_limit_of_pixels_can_be_moved() -> None:
    content = encoded(NOISE, "PNG")
    assert read_image(content, max_pixels=240).size == (20, 12)
    with pytest.raises(DARError, match=r"has 20 x 12 pixels, more than the 239 .*scale it down, or set DAR_MAX_PIXELS"):
        read_image(content, max_pixels=239)


def test_the_environment_sets_the_limit_unless_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(NOISE, "PNG")
    monkeypatch.setenv("DAR_MAX_PIXELS", "239")
    with pytest.raises(DARError, match="more than the 239 that are read: scale it down, or set DAR_MAX_PIXELS"):
        read_image(content)
    assert read_image(content, max_pixels=240).size == (20, 12)
    monkeypatch.setenv("DAR_MAX_PIXELS", str(2**40))
    assert read_image(content).size == (20, 12)
    for wrong in ("many", "-1", "0", "1e9", "²", ""):
        monkeypatch.setenv("DAR_MAX_PIXELS", wrong)
        with pytest.raises(DARError, match="DAR_MAX_PIXELS must be a whole number above 0, not"):
            read_image(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "PPM", "AVIF"])
@pytest.mark.parametrize("limit", [200, 100])
def test_the_limit_of_pillow_is_neither_met_nor_changed(monkeypatch: pytest.MonkeyPatch, kind: str, limit: int) -> None:
    """It warns from its limit on, and raises from twice that on."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert read_image(encoded(NOISE, kind)).size == NOISE.size
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("kind", ["WEBP", "TIFF"])
def test_where_pillow_enforces_its_limit_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    content = encoded(NOISE, kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DARError, match="more pixels than Pillow decodes in its format: scale it down"):
        read_image(content)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_text_that_grows_without_bounds_is_refused(kind: bytes) -> None:
    bomb = (b"a\0\1\0\0\0" if kind == b"iTXt" else b"a\0\0") + zlib.compress(bytes(50_000_000))
    with pytest.raises(DARError, match=r"cannot be read .*too large"):
        read_image(png(8, 8, chunk(kind, bomb)))


def test_a_tiff_that_claims_more_than_it_holds_is_refused() -> None:
    content = encoded(Image.new("L", (16, 16)), "TIFF")
    for side in (30_000, 5_000):
        claimed = content.replace(struct.pack("<HHLL", 256, 4, 1, 16), struct.pack("<HHLL", 256, 4, 1, side))
        claimed = claimed.replace(struct.pack("<HHLL", 257, 4, 1, 16), struct.pack("<HHLL", 257, 4, 1, side))
        assert claimed != content
        with pytest.raises(DARError, match=f"{side} x {side} pixels|cannot be read"):
            read_image(claimed)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "AVIF", "MPO"])
def test_of_several_frames_the_first_is_read(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    red, green, blue = read_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:])).getpixel((4, 4))
    assert red > 240 > 20 > max(green, blue)


@pytest.mark.parametrize("kind", READ_KINDS)
def test_whatever_bytes_lead_to_is_a_picture_or_a_sentence(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a picture"
    options = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF") else {}
    content = encoded(NOISE, kind, **options)
    chance = random.Random(kind)
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(chance.choice((1, 1, 3, 20))):
            damaged[chance.randrange(len(damaged))] = chance.choice((0, 0xFF, chance.randrange(256)))
        if chance.random() < 0.3:
            del damaged[chance.randrange(len(damaged)) :]
        assert said_of(bytes(damaged)).isprintable()


def said_of(content: bytes) -> str:
    """What is said of an image that cannot be read; nothing of others."""
    try:
        assert read_image(content, "a.png", max_pixels=10_000).mode == "RGB"
    except DARError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "error",
    [
        *(struct.error("short"), IndexError(), OverflowError("x"), zlib.error("y"), RecursionError(), SystemError()),
        *(
            KeyError(3),
            AssertionError(),
            EOFError(),
            OSError(5, "Input/output error"),
            UnicodeDecodeError("a", b"", 0, 0, ""),
        ),
    ],
)
def test_whatever_decoders_raise_names_the_picture(error: Exception) -> None:
    with (
        pytest.raises(DARError, match=r"a\.png cannot be read \(.+\): copy it again if it is truncated"),
        decoding("a.png"),
    ):
        raise error


def test_a_lack_of_memory_names_the_picture() -> None:
    with pytest.raises(DARError, match=r"a\.png takes more memory than there is: scale it down"), decoding("a.png"):
        raise MemoryError


def test_interrupts_pass() -> None:
    with pytest.raises(KeyboardInterrupt), decoding("a.png"):
        raise KeyboardInterrupt


def test_files_are_closed_and_bytes_left_alone(tmp_path: Path) -> None:
    """An unclosed file is a warning, and so an error here."""
    (tmp_path / "a.png").write_bytes(encoded(NOISE, "PNG"))
    with opened_image(tmp_path / "a.png", "a.png") as image:
        file = image.fp
        assert image.size == NOISE.size
    assert file is not None
    assert file.closed


@pytest.mark.timeout(60)
def test_devices_and_odd_paths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    for path, said in (
        ("/dev/zero", "/dev/zero is a device, not a file"),
        (tmp_path / "a.png" / "b.png", "cannot be opened"),
        (tmp_path / ("x" * 300), "cannot be opened"),
        ("a\0b.png", "cannot be opened"),
        ("", "is a folder"),
    ):
        with pytest.raises(DARError, match=said):
            read_image(path)
