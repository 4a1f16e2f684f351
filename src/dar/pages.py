"""Pages of one file, made from templates: HTML that asks for nothing from elsewhere."""

import base64
import io
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image


def templates(package: str) -> Environment:
    """Open the folder ``templates`` of a package. What is filled in is text, never HTML, and must not be missing."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def data_uri(image: Image.Image, kind: str = "png", **options: Any) -> str:
    """Encode a picture as an address that holds it.

    Args:
        image: the picture.
        kind: its format, as Pillow calls it.
        options: of that format, as Pillow takes them.
    """
    content = io.BytesIO()
    image.save(content, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
