"""Images as clients get them: files in base64."""

import base64
import io
from typing import Any

from torch import Tensor

from dar.images import to_images


def encoded_image(pixels_3HW: Tensor, output: str = "PNG", **options: Any) -> str:
    """Make the file of an image, in base64.

    Args:
        pixels_3HW: in [-1, 1].
        output: Pillow's name of the format.
        **options: of Pillow's writer.
    """
    file = io.BytesIO()
    to_images(pixels_3HW[None])[0].save(file, output, **options)
    return base64.b64encode(file.getvalue()).decode()
