"""Finding pictures on sheets."""

import numpy as np
from PIL import Image

from dar.sheets import display_scale


def positions(sheet: Image.Image, picture: Image.Image) -> list[tuple[int, int]]:
    """Left and top of each place where a sheet holds a picture, enlarged as sheets do."""
    scale = display_scale(picture.width)
    tile = np.asarray(picture.convert("RGB").resize((picture.width * scale, picture.height * scale), 0))
    drawn, (height, width) = np.asarray(sheet.convert("RGB")), tile.shape[:2]
    starts = drawn[: drawn.shape[0] - height + 1, : drawn.shape[1] - width + 1]
    corners = np.ones(starts.shape[:2], dtype=bool)
    for y in range(0, height, scale):  # the few pixels that tell most places apart
        corners &= (drawn[y : y + starts.shape[0], : starts.shape[1]] == tile[y, 0]).all(-1)
    found = zip(*np.nonzero(corners), strict=True)
    return [(int(x), int(y)) for y, x in found if np.array_equal(drawn[y : y + height, x : x + width], tile)]
