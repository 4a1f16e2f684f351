import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from dar.errors import DARError
from dar.images import (
    centre_crop,
    read_image,
    resize,
    save_animation,
    save_image,
    to_images,
    to_pixels,
    to_rgb,
)

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def colours(image: Image.Image) -> list[tuple[int, ...]]:
    assert image.mode == "RGB"
    return [tuple(colour) for colour in np.asarray(image).reshape(-1, 3).tolist()]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_grey() -> None:
    image = Image.frombytes("L", (3, 1), bytes([0, 100, 255]))
    assert colours(read_image(encoded(image, "PNG"))) == [(0, 0, 0), (100, 100, 100), WHITE]


def test_black_and_white() -> None:
    assert colours(read_image(encoded(Image.new("1", (1, 1), 1), "PNG"))) == [WHITE]


def test_transparency_is_laid_over_white() -> None:
    image = Image.frombytes("RGBA", (3, 1), bytes([255, 0, 0, 255, 255, 0, 0, 0, 0, 0, 0, 128]))
    assert colours(read_image(encoded(image, "PNG"))) == [RED, WHITE, (127, 127, 127)]


def test_grey_with_transparency() -> None:
    image = Image.frombytes("LA", (2, 1), bytes([40, 255, 40, 0]))
    assert colours(read_image(encoded(image, "PNG"))) == [(40, 40, 40), WHITE]


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
def test_palette_with_transparency(transparency: int | bytes) -> None:
    image = Image.frombytes("P", (2, 1), bytes([0, 1]))
    image.putpalette([*RED, *BLUE])
    assert colours(read_image(encoded(image, "PNG", transparency=transparency))) == [RED, WHITE]


def test_palette_without_transparency() -> None:
    image = Image.frombytes("P", (2, 1), bytes([0, 1]))
    image.putpalette([*RED, *BLUE])
    assert colours(read_image(encoded(image, "PNG"))) == [RED, BLUE]


def test_cmyk() -> None:
    image = Image.frombytes("CMYK", (2, 1), bytes([0, 255, 255, 0, 0, 0, 0, 0]))
    assert colours(read_image(encoded(image, "TIFF"))) == [RED, WHITE]


def test_sixteen_bit_grey_keeps_its_brightness() -> None:
    image = Image.fromarray(np.array([[0, 257, 32768, 65535]], dtype=np.uint16))
    assert [red for red, _, _ in colours(read_image(encoded(image, "PNG")))] == [0, 1, 128, 255]


def test_dark_sixteen_bit_grey_stays_dark() -> None:
    image = Image.fromarray(np.array([[0, 200]], dtype=np.uint16))
    assert [red for red, _, _ in colours(read_image(encoded(image, "PNG")))] == [0, 1]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_wide_modes_with_eight_bit_values(mode: str) -> None:
    assert colours(to_rgb(Image.new("L", (1, 1), 77).convert(mode))) == [(77, 77, 77)]


def test_exif_rotation_is_applied() -> None:
    image = Image.new("RGB", (32, 16), BLUE)
    image.paste(RED, (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by a quarter: left becomes top
    upright = read_image(encoded(image, "JPEG", exif=exif, quality=95))
    assert upright.size == (16, 32)
    top, bottom = upright.getpixel((8, 4)), upright.getpixel((8, 28))
    assert top[0] > 200 > 50 > top[2]
    assert bottom[2] > 200 > 50 > bottom[0]


def in_every_mode() -> dict[str, Image.Image]:
    """One image of noise, 9 x 7 pixels, in all modes that files have."""
    numbers = np.random.RandomState(0)
    rgb = Image.fromarray(numbers.randint(0, 256, (7, 9, 3), dtype=np.uint8))
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray(numbers.randint(0, 256, (7, 9), dtype=np.uint8)))
    keyed = rgb.quantize(8)
    keyed.info["transparency"] = 3
    wide = {
        "I": numbers.randint(-9, 60_000, (7, 9)).astype(np.int32),
        "I;16": numbers.randint(0, 65_536, (7, 9)).astype(np.uint16),
        "F": numbers.rand(7, 9).astype(np.float32),
        "F to 255": (250 * numbers.rand(7, 9)).astype(np.float32),
        "F with NaN": np.where(numbers.rand(7, 9) < 0.2, np.nan, 1).astype(np.float32),
    }
    return {
        **{mode: rgb.convert(mode) for mode in ("1", "L", "RGB", "CMYK", "YCbCr", "HSV")},
        **{mode: rgba.convert(mode) for mode in ("RGBA", "LA", "RGBa", "PA")},
        "P": rgb.quantize(8),
        "P with a colour left out": keyed,
        **{name: Image.fromarray(array) for name, array in wide.items()},
    }


@pytest.mark.parametrize("mode", in_every_mode())
def test_images_are_converted_alike_in_strips_and_as_a_whole(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    image = in_every_mode()[mode]
    whole = to_rgb(image)
    for pixels in (1, 20, 62):
        monkeypatch.setattr("dar.rgb.STRIP_PIXELS", pixels)
        assert colours(to_rgb(image)) == colours(whole)
    assert whole is not image


@pytest.mark.parametrize("mode", in_every_mode())
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_exif_tells_and_only_once(mode: str, orientation: int) -> None:
    image, exif = in_every_mode()[mode], Image.Exif()
    exif[0x0112] = orientation
    rgb = Image.fromarray(np.asarray(to_rgb(image.copy())))
    rgb.info["exif"] = image.info["exif"] = exif.tobytes()
    upright = to_rgb(image)
    assert upright.size == ImageOps.exif_transpose(rgb).size
    assert colours(upright) == colours(ImageOps.exif_transpose(rgb))
    assert colours(to_rgb(upright)) == colours(upright)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_turned_tiffs_read_alike_from_files_and_bytes(tmp_path: Path, mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    in_every_mode()[mode].save(tmp_path / "a.tif", exif=exif)
    upright = read_image(tmp_path / "a.tif")
    assert upright.size == (7, 9)
    assert colours(upright) == colours(read_image((tmp_path / "a.tif").read_bytes()))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    "damaged", [b"", b"II", b"II*\0", b"XXXX", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1"]
)
def test_damaged_exif_data_leave_the_picture_as_it_is(kind: str, damaged: bytes) -> None:
    image = Image.new("RGB", (32, 16), BLUE)
    read = read_image(encoded(image, kind, exif=b"Exif\0\0" + damaged))
    assert read.size == (32, 16)
    assert read.getpixel((8, 8))[2] > 200


def test_wide_modes_take_little_more_memory_than_pixels() -> None:
    """Peak of what NumPy and Python take: 4 million pixels as float64 are 32 MB."""
    import tracemalloc

    image = Image.fromarray(np.full((2000, 2000), 30_000, dtype=np.uint16))
    tracemalloc.start()
    assert to_rgb(image).getpixel((1999, 1999)) == (117, 117, 117)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8e6


def test_one_pixel() -> None:
    image = read_image(encoded(Image.new("RGB", (1, 1), RED), "PNG"))
    assert colours(image) == [RED]
    assert set(colours(centre_crop(image, 8))) == {RED}


def test_files_and_their_bytes_read_alike(tmp_path: Path) -> None:
    image = Image.effect_noise((5, 7), 50).convert("RGB")
    image.save(tmp_path / "a.png")
    expected = colours(image)
    assert colours(read_image(tmp_path / "a.png")) == expected
    assert colours(read_image(str(tmp_path / "a.png"))) == expected
    assert colours(read_image((tmp_path / "a.png").read_bytes())) == expected


def test_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(DARError, match=r"gone.png does not exist"):
        read_image(tmp_path / "gone.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_truncated_image_is_named(tmp_path: Path, kind: str, kept: float) -> None:
    content = encoded(Image.effect_noise((64, 64), 80).convert("RGB"), kind)
    path = tmp_path / "half.img"
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DARError, match=r"half.img"):
        read_image(path)


def test_flipped_bits_in_a_png_are_refused() -> None:
    content = bytearray(encoded(Image.effect_noise((64, 64), 80), "PNG"))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(DARError, match="the image cannot be read"):
        read_image(bytes(content))


@pytest.mark.parametrize("content", [b"", b"not an image", b"<svg/>", bytes(1000)])
def test_what_is_not_an_image_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DARError, match="the image is not an image that can be read"):
        read_image(content)
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DARError, match=r"a.png is not an image that can be read"):
        read_image(tmp_path / "a.png")


def test_folder_in_place_of_an_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DARError, match="is a folder: name the images in it"):
        read_image(tmp_path)


def test_all_levels_survive_the_way_to_pixels_and_back() -> None:
    image = Image.fromarray(np.arange(256 * 3, dtype=np.uint16).reshape(16, 16, 3).astype(np.uint8))
    assert {level for colour in colours(image) for level in colour} == set(range(256))
    pixels = to_pixels([image, image])
    assert pixels.shape == (2, 3, 16, 16)
    assert pixels.dtype == torch.float32
    assert (pixels.min(), pixels.max()) == (-1, 1)
    assert [colours(back) for back in to_images(pixels)] == [colours(image)] * 2


def test_pixels_are_ordered_by_colour_row_column() -> None:
    image = Image.new("RGB", (2, 3))
    image.putpixel((1, 2), (255, 127, 0))
    pixels = to_pixels([image])
    assert pixels.shape == (1, 3, 3, 2)
    assert pixels[0, :, 2, 1].tolist() == pytest.approx([1, -1 / 255, -1])


def test_pixels_round_to_the_nearest_level_and_clamp() -> None:
    pixels = torch.tensor([-2.0, -1 + 0.9 / 255, -1 + 1.1 / 255, 3.0]).expand(1, 3, 1, 4)
    assert [red for red, _, _ in colours(to_images(pixels)[0])] == [0, 0, 1, 255]


@pytest.mark.parametrize("size", [(64, 16), (16, 64), (65, 16), (100, 33)])
def test_centre_crop_keeps_the_middle(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, BLUE)
    width, height = size
    shorter = min(size)
    left, top = (width - shorter) // 2, (height - shorter) // 2
    image.paste(RED, (left, top, left + shorter, top + shorter))
    cropped = centre_crop(image, 8)
    assert cropped.size == (8, 8)
    assert cropped.getpixel((4, 4)) == RED
    assert all(colour[0] > 200 for colour in colours(cropped.crop((1, 1, 7, 7))))


def test_centre_crop_of_the_wanted_size_changes_nothing() -> None:
    image = Image.effect_noise((16, 16), 50).convert("RGB")
    assert colours(centre_crop(image, 16)) == colours(image)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((64, 64), (16, 16)), ((33, 16), (33, 16)), ((10, 40), (16, 64)), ((16, 999), (16, 65)), ((1, 20000), (16, 64))],
)
def test_resize_makes_the_shorter_side_fit(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert resize(Image.new("RGB", size), 16).size == expected


@pytest.mark.parametrize("size", [(3, 40), (40, 3), (5, 21), (2, 9000)])
def test_long_strips_are_cut_as_by_a_crop_but_without_its_limit(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    image = Image.effect_noise(size, 80).convert("RGB")
    (width, height), longest = size, 4 * min(size)
    left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
    middle = image.crop((left, top, width - left, height - top))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert colours(resize(image, min(size))) == colours(middle)


def test_shrinking_averages() -> None:
    board = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)).convert("RGB")
    assert {level for colour in colours(resize(board, 16)) for level in colour} <= {127, 128}


def test_save_image(tmp_path: Path) -> None:
    image = Image.effect_noise((5, 4), 50).convert("RGB")
    save_image(image, tmp_path / "new" / "a.png")
    assert colours(read_image(tmp_path / "new" / "a.png")) == colours(image)


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_animation_holds_every_frame_and_lingers_on_the_last(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (4, 4), (60 * i, 0, 0)) for i in range(4)]
    save_animation(frames, tmp_path / f"a.{ending}", milliseconds=100)
    with Image.open(tmp_path / f"a.{ending}") as animation:
        assert animation.n_frames == 4
        assert animation.info["loop"] == 0
        durations = []
        for i in range(4):
            animation.seek(i)
            animation.load()
            durations.append(animation.info["duration"])
            assert animation.convert("RGB").getpixel((0, 0))[0] == pytest.approx(60 * i, abs=3)
    assert durations == [100, 100, 100, 600]
