import io

import pytest
from PIL import Image

from dar.errors import DARError
from dar.images import centre_crop
from dar.inspection.picture import BACKGROUND, look, thumbnail
from dar.sheets import VISIBLE_SIDE


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


NOISE = Image.effect_noise((40, 20), 50)


@pytest.mark.parametrize(
    ("image", "kind", "mode", "transparent"),
    [
        (NOISE, "JPEG", "L", False),
        (NOISE.convert("RGB"), "PNG", "RGB", False),
        (NOISE.convert("RGBA"), "PNG", "RGBA", True),
        (NOISE.convert("LA"), "PNG", "LA", True),
        (NOISE.convert("P"), "GIF", "P", False),
        (NOISE.convert("CMYK"), "JPEG", "CMYK", False),
        (Image.new("I;16", (40, 20), 9), "PNG", "I;16", False),
    ],
)
def test_facts(image: Image.Image, kind: str, mode: str, transparent: bool) -> None:
    shown, facts = look(encoded(image, kind), "it")
    assert (facts.format, facts.mode, facts.transparent) == (kind, mode, transparent)
    assert (facts.width, facts.height) == shown.size == (40, 20)
    assert shown.mode == "RGB"


def test_palette_with_a_transparent_colour() -> None:
    assert look(encoded(NOISE.convert("P"), "PNG", transparency=0), "it")[1].transparent


def test_size_is_that_of_the_upright_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    facts = look(encoded(NOISE, "JPEG", exif=exif), "it")[1]
    assert (facts.width, facts.height) == (20, 40)


def test_pixels_are_told_from_files() -> None:
    png, bmp = (look(encoded(NOISE, kind), "it")[1] for kind in ("PNG", "BMP"))
    assert png.pixels == bmp.pixels
    assert png.file != bmp.file
    other = look(encoded(NOISE.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "PNG"), "it")[1]
    assert other.pixels != png.pixels
    assert (
        look(encoded(Image.new("L", (4, 2)), "PNG"), "")[1].pixels
        != look(encoded(Image.new("L", (2, 4)), "PNG"), "")[1].pixels
    )


def test_what_cannot_be_read_is_named() -> None:
    with pytest.raises(DARError, match=r"cat/1\.png"):
        look(b"nothing", "cat/1.png")


def test_thumbnail_is_what_training_sees() -> None:
    image = NOISE.convert("RGB")
    assert thumbnail(image, 16).tobytes() == centre_crop(image, 16).tobytes()


@pytest.mark.parametrize("size", [(1000, 500), (64, 32), (3, 1), (20_000, 2), (128, 64)])
def test_whole_pictures_are_fitted(size: tuple[int, int]) -> None:
    small = thumbnail(Image.new("RGB", size, "red"), None)
    assert small.size == (VISIBLE_SIDE, VISIBLE_SIDE)
    assert small.getpixel((VISIBLE_SIDE // 2, VISIBLE_SIDE // 2 - 1)) == (255, 0, 0)
    assert small.getpixel((0, 0)) == BACKGROUND
    assert {colour for _, colour in small.getcolors()} == {(255, 0, 0), BACKGROUND}
