"""The job that inspects the pictures of a data set."""

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from PIL import Image

from dar.data.dataset import ImageDataset
from dar.data.opening import Images
from dar.data.streamed import StreamedImages
from dar.data.unreadable import refusal
from dar.data.workers import in_workers
from dar.inspection.captions import Captions
from dar.inspection.contact_sheet import ContactSheet, Shown
from dar.inspection.duplicates import Fingerprints
from dar.inspection.looker import Looked, Looker, Request
from dar.inspection.report import DataReport, Duplicate
from dar.inspection.sizes import Sizes
from dar.progress import progress_bar

DEFAULT_STREAM_IMAGES = 1000
"""Number of images of a stream to look at where none is given."""

WORKER_BATCH = 16
"""Number of images that go to a worker process together."""


def inspect_data(
    data: Images,
    *,
    size: int | None = None,
    count: int | None = None,
    workers: int = 0,
    max_broken_share: float = 0.01,
    all_classes: bool = False,
) -> tuple[DataReport, Image.Image | None]:
    """Look at the pictures of a data set, each once, with a few numbers a picture in memory.

    Args:
        data: the images.
        size: pixels a side of the central squares that training cuts, which the sheet then shows.
        count: how many to look at, drawn from all over indexed data, the first ones of a stream; None means all of
            indexed data and ``DEFAULT_STREAM_IMAGES`` of a stream.
        workers: processes that decode; 0 decodes in this one.
        max_broken_share: the share of unreadable images that training puts up with.
        all_classes: whether the sheet has a row for each class however many there are.

    Returns:
        The report and the contact sheet; None in place of this where no picture can be read.

    Raises:
        DARError: if the data can't be read, or a worker dies.
    """
    started = time.monotonic()
    total = _total(data, count)
    sheet = ContactSheet(data.summary.class_names or (), total, size, all_classes=all_classes)
    found = _Totals(keeps_names=isinstance(data, StreamedImages))
    with progress_bar(total, desc="looking") as bar:
        for batch in in_workers(Looker(data, size), _batches(_requests(data, total, sheet)), workers):
            for looked in batch:
                found.add(looked)
                if looked.thumbnail is not None:
                    sheet.add(Shown(looked.thumbnail, looked.class_name, looked.caption))
            bar.update(len(batch))
        bar.total = bar.n
    report = _report(data, found, total, size, max_broken_share, round(time.monotonic() - started, 1))
    return report, sheet.draw(_counts(data, found))


def _total(data: Images, count: int | None) -> int:
    """Choose how many images to look at; a stream may turn out to have fewer."""
    wanted = [
        DEFAULT_STREAM_IMAGES if isinstance(data, StreamedImages) and count is None else count,
        data.summary.images,
    ]
    return min(number for number in wanted if number is not None)


def _requests(data: Images, count: int, sheet: ContactSheet) -> Iterator[Request]:
    """Choose images to look at: the first of a stream, or some drawn from all over indexed data, in their order."""
    if isinstance(data, StreamedImages):
        for place, row in enumerate(itertools.islice(data.epoch(seed=0, epoch=0), count)):
            yield Request(place, row, sheet.chooses(data.stored(row, place).class_name))
    else:
        classes = _classes(data)
        drawn = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:count].tolist()
        shown = {place for place in drawn if sheet.chooses(classes[place])}
        yield from (Request(place, None, place in shown) for place in sorted(drawn))


def _classes(data: ImageDataset) -> list[str | None]:
    """Find the class of each image; None where there is none, or none certain."""
    names = data.summary.class_names
    return [None if label < 0 else names[label] for label in data.labels] if names else [None] * len(data)


def _batches(requests: Iterable[Request]) -> Iterator[list[Request]]:
    requests = iter(requests)
    while batch := list(itertools.islice(requests, WORKER_BATCH)):
        yield batch


class _Totals:
    """Accumulates what is found.

    Args:
        keeps_names: whether to remember what images are called, since the data can't be asked again.
    """

    def __init__(self, *, keeps_names: bool) -> None:
        self.classes: Counter[str | None] = Counter()
        self.broken: list[str] = []
        self.sizes, self.captions, self.fingerprints = Sizes(), Captions(), Fingerprints()
        self.formats: Counter[str] = Counter()
        self.modes: Counter[str] = Counter()
        self.transparent = 0
        self.named: dict[int, Looked] = {}
        self._keeps_names = keeps_names

    def add(self, looked: Looked) -> None:
        """Count an image."""
        self.classes[looked.class_name] += 1
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
        if self._keeps_names:
            self.named[looked.place] = replace(looked, thumbnail=None, facts=None)


def _report(
    data: Images, found: _Totals, wanted: int, size: int | None, max_broken_share: float, seconds: float
) -> DataReport:
    looked_at, counts = found.classes.total(), _counts(data, found)
    known = data.summary.class_names
    names = sorted(name for name in counts if name is not None) if known is None else known
    return DataReport(
        summary=data.summary,
        looked_at=looked_at,
        complete=looked_at < wanted or looked_at == data.summary.images,
        streaming=isinstance(data, StreamedImages),
        broken=tuple(found.broken),
        sizes=found.sizes.summary(size),
        formats=dict(found.formats.most_common()),
        modes=dict(found.modes.most_common()),
        transparent=found.transparent,
        classes={name: counts[name] for name in names},
        unlabelled=counts[None] if names else 0,
        captions=found.captions.summary(),
        duplicates=tuple(_duplicates(data, found)),
        refusal=_refusal(data.source, looked_at, found.broken, max_broken_share),
        seconds=seconds,
    )


def _refusal(source: str, seen: int, broken: list[str], max_share: float) -> str | None:
    if seen == len(broken) > 0:
        return f"none of the {seen} images of {source} that were looked at can be read; first: {broken[0]}"
    return refusal(source, seen, broken, max_share)


def _counts(data: Images, found: _Totals) -> Counter[str | None]:
    """Count images of each class: all of indexed data, of a stream those that were looked at."""
    return found.classes if isinstance(data, StreamedImages) else Counter(_classes(data))


def _duplicates(data: Images, found: _Totals) -> Iterator[Duplicate]:
    for places, identical_files in found.fingerprints.groups():
        images = [data.stored(p) if isinstance(data, ImageDataset) else found.named[p] for p in places]
        yield Duplicate(
            names=tuple(image.name for image in images),
            classes=tuple(image.class_name or "" for image in images),
            captions=tuple(image.caption or "" for image in images),
            identical_files=identical_files,
        )
