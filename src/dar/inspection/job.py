"""Look at all pictures of a data set, or at many, once."""

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from dar.data.dataset import ImageDataset
from dar.data.opening import Images
from dar.data.streamed import StreamedImages
from dar.data.workers import in_workers
from dar.errors import DARError
from dar.inspection.captions import Captions
from dar.inspection.contact_sheet import ContactSheet, Shown
from dar.inspection.duplicates import Fingerprints
from dar.inspection.looking import PictureFacts, look, thumbnail
from dar.inspection.report import DataReport, Duplicate
from dar.inspection.sizes import Sizes
from dar.inspection.stored import StoredImage, all_labels, stored_image

FIRST_OF_STREAM = 1000
"""Images of a stream that are looked at unless a number is given."""

PIECE = 16
"""Images that go to a worker process together."""


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
    """What was seen of an image.

    Attributes:
        place: see ``Request``.
        name: what it is called.
        label: its class index; None where it has no class.
        caption: its caption; None where it has none.
        facts: what it is; None where it can't be read.
        broken: why it can't be read; "" where it can.
        thumbnail: what the sheet shows of it, if it does.
    """

    place: int
    name: str
    label: int | None
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
        """What is seen of some images."""
        return [self._look(request) for request in requests]

    def _look(self, request: Request) -> Looked:
        stored = self._stored(request)
        looked = Looked(request.place, stored.name, stored.label, stored.caption)
        try:
            image, facts = look(stored.content(), stored.name)
        except DARError as error:
            return replace(looked, broken=str(error))
        return replace(looked, facts=facts, thumbnail=thumbnail(image, self.size) if request.shown else None)

    def _stored(self, request: Request) -> StoredImage:
        return stored_image(self.data, request.place, request.row)


def inspect_data(
    data: Images,
    *,
    size: int | None = None,
    count: int | None = None,
    workers: int = 0,
    all_classes: bool = False,
) -> tuple[DataReport, Image.Image | None]:
    """Look at the pictures of a data set, each once, with a few numbers a picture in memory.

    Args:
        data: the images.
        size: pixels a side of the central squares that training cuts, which the sheet then shows.
        count: how many to look at, drawn from all over indexed data, the first ones of a stream; None means all of
            indexed data and ``FIRST_OF_STREAM`` of a stream.
        workers: processes that decode; 0 decodes in this one.
        all_classes: whether the sheet has a row for each class however many there are.

    Returns:
        The report and the contact sheet; None in place of this where no picture can be read.

    Raises:
        DARError: if the data can't be read, or a worker dies.
    """
    started = time.monotonic()
    is_stream = isinstance(data, StreamedImages)
    places = range(count or FIRST_OF_STREAM) if is_stream else _places(len(data), count)
    sheet = ContactSheet(data.class_names, len(places), size, all_classes=all_classes)
    requests = _streamed(data, len(places), sheet) if is_stream else _indexed(data, places, sheet)
    found = _Found(keeps_names=is_stream)
    with tqdm(total=len(places), desc="looking", unit="image", dynamic_ncols=True) as bar:
        for piece in in_workers(Looker(data, size), _pieces(requests), workers):
            for looked in piece:
                found.add(looked)
                if looked.thumbnail is not None:
                    sheet.add(Shown(looked.thumbnail, looked.label, looked.caption or ""))
            bar.update(len(piece))
    seconds = round(time.monotonic() - started, 1)
    return _report(data, found, size, seconds), sheet.draw(_counts(data, found))


def _places(available: int, count: int | None) -> list[int] | range:
    """Places to look at, in order, drawn from all over the data; None means all of them."""
    if count is None or count >= available:
        return range(available)
    return sorted(torch.randperm(available, generator=torch.Generator().manual_seed(0))[:count].tolist())


def _indexed(data: ImageDataset, places: Sequence[int], sheet: ContactSheet) -> Iterator[Request]:
    """Requests in the order of the data, shown ones drawn from all over it."""
    labels = all_labels(data)
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(0)).tolist()
    shown = {places[i] for i in order if sheet.chooses(labels[places[i]])}
    return (Request(place, None, place in shown) for place in places)


def _streamed(data: StreamedImages, count: int, sheet: ContactSheet) -> Iterator[Request]:
    """Requests for the first images of a stream's first epoch."""
    rows = itertools.islice(data._epoch(0, 0), count)
    return (Request(place, row, sheet.chooses(stored_image(data, place, row).label)) for place, row in enumerate(rows))


def _pieces(requests: Iterable[Request]) -> Iterator[list[Request]]:
    requests = iter(requests)
    while piece := list(itertools.islice(requests, PIECE)):
        yield piece


class _Found:
    """What was found so far.

    Args:
        keeps_names: whether to remember what images are called, since the data can't be asked again.
    """

    def __init__(self, *, keeps_names: bool) -> None:
        self.labels: Counter[int | None] = Counter()
        self.broken: list[str] = []
        self.sizes, self.captions, self.fingerprints = Sizes(), Captions(), Fingerprints()
        self.formats: Counter[str] = Counter()
        self.modes: Counter[str] = Counter()
        self.transparent = 0
        self._names: dict[int, tuple[str, int | None]] | None = {} if keeps_names else None

    def add(self, looked: Looked) -> None:
        """Count an image."""
        self.labels[looked.label] += 1
        if looked.caption is not None:
            self.captions.add(looked.caption)
        if looked.facts is None:
            self.broken.append(looked.broken)
            return
        facts = looked.facts
        self.sizes.add(facts.width, facts.height)
        self.fingerprints.add(looked.place, facts.pixels, facts.file)
        self.formats[facts.format] += 1
        self.modes[facts.mode] += 1
        self.transparent += facts.transparent
        if self._names is not None:
            self._names[looked.place] = looked.name, looked.label

    def described(self, data: Images, place: int) -> tuple[str, int | None]:
        """What an image is called, and its label."""
        if self._names is not None:
            return self._names[place]
        stored = stored_image(data, place)
        return stored.name, stored.label


def _report(data: Images, found: _Found, size: int | None, seconds: float) -> DataReport:
    counts = _counts(data, found)
    return DataReport(
        source=data.source,
        summary="",
        layout="",
        split="train",
        images=None if isinstance(data, StreamedImages) else len(data),
        looked_at=found.labels.total(),
        streaming=isinstance(data, StreamedImages),
        broken=tuple(found.broken),
        sizes=found.sizes.summary(size),
        formats=dict(found.formats.most_common()),
        modes=dict(found.modes.most_common()),
        transparent=found.transparent,
        classes={name: counts[label] for label, name in enumerate(data.class_names)},
        unlabelled=counts[None],
        captions=found.captions.summary(),
        duplicates=tuple(_duplicates(data, found)),
        left_out=(),
        notes=(),
        seconds=seconds,
    )


def _counts(data: Images, found: _Found) -> Counter[int | None]:
    """Images of each class: all of indexed data, of a stream those that were looked at."""
    return found.labels if isinstance(data, StreamedImages) else Counter(all_labels(data))


def _duplicates(data: Images, found: _Found) -> Iterator[Duplicate]:
    for places, identical_files in found.fingerprints.groups():
        images = [found.described(data, place) for place in places]
        yield Duplicate(
            names=tuple(image.name for image in images),
            classes=tuple("" if image.label is None else data.class_names[image.label] for image in images),
            captions=tuple(image.caption or "" for image in images),
            identical_files=identical_files,
        )
