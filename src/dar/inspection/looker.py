"""Inspection of single images, which can run in worker processes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from dar.data.decoding import StoredImage
from dar.data.opening import Images
from dar.data.streamed import StreamedImages
from dar.errors import DARError
from dar.inspection.picture import PictureFacts, look, thumbnail


@dataclass(frozen=True)
class Request:
    """An image to look at.

    Attributes:
        place: its index in the data, or its place in the stream.
        row: its undecoded row, of streamed data.
        shown: whether the sheet shows it.
    """

    place: int
    row: dict[str, Any] | None
    shown: bool


@dataclass(frozen=True)
class Looked:
    """Result of inspecting an image.

    Attributes:
        place: see ``Request``.
        name: what it is called.
        class_name: its class; None where it has none.
        caption: its caption; None where it has none.
        facts: what it is; None where it can't be read.
        broken: why it can't be read; "" where it can.
        thumbnail: what the sheet shows of it, if it does.
    """

    place: int
    name: str
    class_name: str | None
    caption: str | None
    facts: PictureFacts | None = None
    broken: str = ""
    thumbnail: Image.Image | None = None


@dataclass(frozen=True)
class Looker:
    """Looks at images; can run in worker processes.

    Attributes:
        data: the images.
        size: pixels a side of the thumbnails; see ``thumbnail``.
    """

    data: Images
    size: int | None

    def __call__(self, requests: Sequence[Request]) -> list[Looked]:
        """Inspect some images."""
        return [self._look(request) for request in requests]

    def _look(self, request: Request) -> Looked:
        stored = _stored(self.data, request)
        looked = Looked(request.place, stored.name, stored.class_name, stored.caption)
        try:
            image, facts = look(stored.encoded(), stored.name)
        except DARError as error:
            return replace(looked, broken=str(error))
        return replace(looked, facts=facts, thumbnail=thumbnail(image, self.size) if request.shown else None)


def _stored(data: Images, request: Request) -> StoredImage:
    if isinstance(data, StreamedImages):
        assert request.row is not None
        return data.stored(request.row, request.place)
    return data.stored(request.place)
