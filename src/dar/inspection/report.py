"""What was found out about a data set, as lines to read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dar.errors import quoted
from dar.inspection.captions import CaptionSummary
from dar.inspection.sizes import LONGEST_SHAPE, SizeSummary

LISTED = 10
"""Broken files, duplicates and so on that are told; a report holds all of them."""

LISTED_CLASSES = 20
"""Classes of a table; of more, the largest and the smallest are told."""


@dataclass(frozen=True)
class Duplicate:
    """A picture that is there several times, equal to the last pixel.

    Attributes:
        names: what its copies are called.
        classes: the class of each; "" where it has none.
        identical_files: whether the files are equal too.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    identical_files: bool

    @property
    def conflicting(self) -> bool:
        """Whether the copies are of different classes."""
        return len(set(self.classes)) > 1


@dataclass(frozen=True)
class DataReport:
    """What was found out about a data set.

    Attributes:
        source: what the user calls it.
        summary: what training reads of it, in a sentence.
        layout: how its files lie.
        split: which split of it was read.
        images: how many training reads; None where a stream does not tell.
        looked_at: how many of them were looked at.
        streaming: whether they were read as a stream.
        broken: what is said of each picture that can't be read.
        sizes: sizes and shapes of the others; None where there is no other.
        formats: pictures by file format.
        modes: pictures by Pillow's name of what a pixel is in the file.
        transparent: pictures with transparency.
        classes: images of each class, in the order of the labels; empty where there are no classes.
        unlabelled: images without a class.
        captions: None where there are none.
        duplicates: pictures that are there several times.
        left_out: files that training does not read, and why.
        notes: what else training says of the data.
        seconds: what looking took.
    """

    source: str
    summary: str
    layout: str
    split: str
    images: int | None
    looked_at: int
    streaming: bool
    broken: tuple[str, ...]
    sizes: SizeSummary | None
    formats: dict[str, int]
    modes: dict[str, int]
    transparent: int
    classes: dict[str, int]
    unlabelled: int
    captions: CaptionSummary | None
    duplicates: tuple[Duplicate, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float

    @property
    def readable(self) -> int:
        """How many of the pictures that were looked at can be read."""
        return self.looked_at - len(self.broken)

    def lines(self, *, all_classes: bool = False) -> Iterator[str]:
        """The report to read, most important things first."""
        yield self.summary
        yield from self.notes
        yield from _told("layout", self.layout)
        yield from _told("split", self.split)
        yield from _told("looked at", self._looked_at())
        yield from _told("broken", _count(len(self.broken), "picture"), self.broken)
        if self.sizes:
            yield from _told("sizes", _sizes(self.sizes), _small(self.sizes, self.readable))
            yield from _told("shapes", _shapes(self.sizes))
            yield from _told("formats", _shares(self.formats))
            yield from _told("pixels", _shares(self.modes) + self._transparency())
        yield from _told("duplicates", *self._duplicates())
        if self.classes or self.unlabelled:
            yield from self._class_lines(all_classes)
        yield from _told("captions", *self._captions())
        yield from _told("left out", _count(len(self.left_out), "file"), self.left_out)

    def _looked_at(self) -> str:
        of = "" if self.images in (None, self.looked_at) else f" of {self.images:,}"
        rate = f"{self.looked_at / self.seconds:,.0f} a second" if self.seconds else "at once"
        which = ", the first ones of the stream" if self.streaming else ", drawn from all over the data" if of else ""
        return f"{self.looked_at:,}{of} images{which}; {rate}"

    def _transparency(self) -> str:
        return f"; {self.transparent:,} with transparency, which is laid over white" if self.transparent else ""

    def _duplicates(self) -> tuple[str, list[str]]:
        if not self.duplicates:
            return "none", []
        extra = sum(len(one.names) - 1 for one in self.duplicates)
        told = f"{_count(len(self.duplicates), 'picture')} more than once, {_count(extra, 'copy', 'copies')} too many"
        conflicts = [one for one in self.duplicates if one.conflicting]
        others = [one for one in self.duplicates if not one.conflicting]
        if conflicts:
            told += f"; {len(conflicts):,} of them UNDER DIFFERENT CLASSES"
        return told, [_duplicate(one) for one in (*conflicts, *others)]

    def _class_lines(self, all_classes: bool) -> Iterator[str]:
        counts = sorted(self.classes.items(), key=lambda item: (-item[1], item[0]))
        if counts:
            values = [count for _, count in counts]
            each = _count(values[0], "image") if values[0] == values[-1] else f"{values[-1]:,} to {values[0]:,} images"
            told = f"{len(counts):,}, of {each} each"
            if values[-1] == 0:
                empty = sum(not value for value in values)
                told += f"; {empty:,} of them without any image"
            elif values[0] >= 2 * values[-1]:
                told += f"; the largest is {values[0] / values[-1]:.1f} times the smallest"
            yield from _told("classes", told)
            width = max(len(f"{count:,}") for count in values)
            half = LISTED_CLASSES // 2
            cut = not all_classes and len(counts) > LISTED_CLASSES
            shown = [*counts[:half], None, *counts[-half:]] if cut else counts
            for item in shown:
                gap = f"... and {len(counts) - 2 * half:,} more (--all shows them)"
                yield f"  {item[1]:>{width},}  {quoted(item[0])}" if item else f"  {'':>{width}}  {gap}"
        yield from _told("unlabelled", _count(self.unlabelled, "image") if self.unlabelled else "none")

    def _captions(self) -> tuple[str, Sequence[str]]:
        if not self.captions:
            return "none", ()
        share = self.captions.count / max(1, self.looked_at)
        told = (
            f"{self.captions.count:,} images have one ({_percent(share)}), {self.captions.distinct:,} different; "
            f"words: median {self.captions.median_words}, at most {self.captions.most_words}"
        )
        return told, self.captions.examples


def _told(title: str, text: str, items: Sequence[str] = ()) -> Iterator[str]:
    """A line, and one for each of the first few items."""
    yield f"{title:<12}{text}"
    for item in items[:LISTED]:
        yield f"  {quoted(item)}"
    if len(items) > LISTED:
        yield f"  ... and {len(items) - LISTED:,} more"


def _count(count: int, noun: str, plural: str | None = None) -> str:
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}" if count else "none"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share in (0, 1) else f"{share:.1%}"


def _shares(counts: dict[str, int]) -> str:
    """Counts, the largest first."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def _sizes(sizes: SizeSummary) -> str:
    def side(size: tuple[int, int]) -> str:
        return f"{size[0]} x {size[1]}"

    if sizes.distinct == 1:
        return f"all {side(sizes.median)}"
    return (
        f"smallest {side(sizes.smallest)}, median {side(sizes.median)}, largest {side(sizes.largest)}; "
        f"{sizes.distinct:,} different ones, shortest side {sizes.shortest_side}"
    )


def _small(sizes: SizeSummary, count: int) -> list[str]:
    if not sizes.enlarged:
        return []
    share = _percent(sizes.enlarged / count)
    return [f"{sizes.enlarged:,} ({share}) have a shorter side below {sizes.size} pixels: training enlarges them"]


def _shapes(sizes: SizeSummary) -> str:
    if sizes.flattest == sizes.widest:
        return "all square" if sizes.widest == 1 else f"width to height {sizes.widest:.2f}"
    told = f"width to height from {sizes.flattest:.2f} to {sizes.widest:.2f}, median {sizes.median_ratio:.2f}"
    if sizes.strips:
        told += f"; {sizes.strips:,} longer than {LONGEST_SHAPE} to 1, of which the middle alone is used"
    return told


def _duplicate(one: Duplicate) -> str:
    """Names with their classes where these differ."""
    named = zip(one.names, one.classes, strict=True)
    names = [f"{name} ({label or 'no class'})" if one.conflicting else name for name, label in named]
    return " = ".join(names) + ("" if one.identical_files else "  (same pixels in different files)")
