import base64
import io

import pytest
from jinja2 import UndefinedError
from PIL import Image

from dar.pages import data_uri, templates


def test_what_is_filled_in_is_text_and_must_be_there() -> None:
    template = templates("dar.report").from_string("<p>{{ name }}</p>")
    assert template.render(name="<b>&") == "<p>&lt;b&gt;&amp;</p>"
    with pytest.raises(UndefinedError, match="name"):
        template.render()


@pytest.mark.parametrize(("kind", "options"), [("png", {}), ("webp", {"lossless": True})])
def test_an_address_holds_the_picture(kind: str, options: dict[str, bool]) -> None:
    image = Image.new("RGB", (3, 2), "red")
    start, _, content = data_uri(image, kind, **options).partition(",")
    assert start == f"data:image/{kind};base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB").tobytes() == image.tobytes()
