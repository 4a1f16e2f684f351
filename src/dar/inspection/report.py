"""The report of an inspection, as lines to read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dar.data import DataSummary
from dar.errors import quoted
from dar.inspection.captions import CaptionSummary
from dar.inspection.sizes import LONGEST_SHAPE, SizeSummary

MAX_LISTED = 10
"""Number of broken files, duplicates and so on that are printed; a report holds all of them."""

MAX_LISTED_CLASSES = 20
"""Number of classes in a table; of more, the largest and the smallest are printed."""


@dataclass(frozen=True)
class Duplicate:
    """A picture that is there several times, equal to the last pixel.

    Attributes:
        names: what its copies are called.
        classes: the class of each; "" where it has none.
        captions: the caption of each; "" where it has none.
        identical_files: whether the files are equal too.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    captions: tuple[str, ...]
    identical_files: bool

    @property
    def classes_differ(self) -> bool:
        """Tell whether the copies are of different classes."""
        return len(set(self.classes)) > 1

    @property
    def captions_differ(self) -> bool:
        """Tell whether the copies have different captions."""
        return len(set(self.captions)) > 1

    def line(self) -> str:
        """Format the copies, with classes and captions where these differ."""
        copies = []
        for name, label, caption in zip(self.names, self.classes, self.captions, strict=True):
            of_class = f" ({label or 'no class'})" if self.classes_differ else ""
            captioned = f' "{caption}"' if self.captions_differ else ""
            copies.append(name + of_class + captioned)
        return ("same file: " if self.identical_files else "same pixels: ") + " = ".join(copies)


@dataclass(frozen=True)
class DataReport:
    """Report on a data set.

    Attributes:
        summary: what training reads of it.
        looked_at: how many images were looked at.
        complete: whether these are all that there are.
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
        refusal: why training would refuse these images; None where it would not.
        seconds: what looking took.
    """

    summary: DataSummary
    looked_at: int
    complete: bool
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
    refusal: str | None
    seconds: float

    @property
    def readable(self) -> int:
        """Number of inspected pictures that can be read."""
        return self.looked_at - len(self.broken)

    def lines(self, *, all_classes: bool = False) -> Iterator[str]:
        """Format all but the summary, line by line.

        Args:
            all_classes: whether to count the images of each class, however many there are.
        """
        yield from _item("looked at", self._looked_at())
        yield from _item("broken", _count(len(self.broken), "picture"), self.broken)
        if self.sizes:
            yield from _item("sizes", _sizes(self.sizes), _small(self.sizes, self.readable))
            yield from _item("shapes", _shapes(self.sizes))
            yield from _item("formats", _by_frequency(self.formats))
            yield from _item("pixels", _by_frequency(self.modes) + self._transparency())
        yield from _item("duplicates", *self._duplicates())
        yield from _item("captions", *self._captions())
        yield from self._class_lines(all_classes)

    def _looked_at(self) -> str:
        rate = f"{self.looked_at / self.seconds:,.0f} a second" if self.seconds else "at once"
        looked_at = _count(self.looked_at, "image")
        if self.complete:
            return f"all {looked_at}, {rate}"
        how = "the first ones of the stream" if self.streaming else "drawn from all over the data"
        return f"{looked_at}, {how}, {rate}"

    def _transparency(self) -> str:
        return f"; {self.transparent:,} with transparency, which is laid over white" if self.transparent else ""

    def _duplicates(self) -> tuple[str, list[str]]:
        if not self.duplicates:
            return "none", []
        extra = sum(len(one.names) - 1 for one in self.duplicates)
        text = f"{_count(len(self.duplicates), 'picture')} more than once, {_count(extra, 'copy', 'copies')} too many"
        if conflicts := sum(one.classes_differ for one in self.duplicates):
            text += f"; {conflicts:,} UNDER DIFFERENT CLASSES"
        if different := sum(one.captions_differ for one in self.duplicates):
            text += f"; {different:,} with different captions"
        worst_first = sorted(self.duplicates, key=lambda one: (not one.classes_differ, not one.captions_differ))
        return text, [one.line() for one in worst_first]

    def _class_lines(self, all_classes: bool) -> Iterator[str]:
        if not self.classes:
            yield from _item("classes", "none")
            return
        counts = sorted(self.classes.items(), key=lambda item: (-item[1], item[0]))
        yield from _item("classes", f"{len(counts):,}, {_balance([count for _, count in counts])}")
        rows = [f"{count:>{len(f'{counts[0][1]:,}')},}  {quoted(name)}" for name, count in counts]
        half = MAX_LISTED_CLASSES // 2
        if not all_classes and len(rows) > MAX_LISTED_CLASSES:
            rows = [*rows[:half], f"... {len(rows) - 2 * half:,} more, which --all tells", *rows[-half:]]
        yield from (f"  {row}" for row in rows)
        yield from _item("unlabelled", _count(self.unlabelled, "image"))

    def _captions(self) -> tuple[str, Sequence[str]]:
        if not self.captions:
            return "none", ()
        share = self.captions.count / max(1, self.looked_at)
        text = (
            f"{_count(self.captions.count, 'image has', 'images have')} one ({_percent(share)}), "
            f"{self.captions.distinct:,} different; "
            f"words: median {self.captions.median_words}, at most {self.captions.most_words}"
        )
        return text, self.captions.examples


def _item(title: str, text: str, items: Sequence[str] = ()) -> Iterator[str]:
    """Write a line, and one for each of the first items."""
    yield f"{title:<12}{text}"
    for item in items[:MAX_LISTED]:
        yield f"  {quoted(item)}"
    if len(items) > MAX_LISTED:
        yield f"  ... and {len(items) - MAX_LISTED:,} more"


def _count(count: int, noun: str, plural: str | None = None) -> str:
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}" if count else "none"


def _balance(counts: Sequence[int]) -> str:
    """Describe how evenly images are spread over classes; counts are given from the largest to the smallest."""
    most, least = counts[0], counts[-1]
    if most == least:
        return f"of {_count(most, 'image')} each"
    text = f"of {least:,} to {most:,} images each"
    if least == 0:
        return f"{text}; {sum(not count for count in counts):,} without any image"
    return f"{text}; the largest is {most / least:.1f} times the smallest" if most >= 2 * least else text


def _percent(share: float) -> str:
    return f"{share:.0%}" if share in (0, 1) else f"{share:.1%}"


def _by_frequency(counts: dict[str, int]) -> str:
    """Format counts, the largest first."""
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
    text = f"width to height from {sizes.flattest:.2f} to {sizes.widest:.2f}, median {sizes.median_ratio:.2f}"
    if sizes.strips:
        text += f"; {sizes.strips:,} longer than {LONGEST_SHAPE} to 1, of which the middle alone is used"
    return text
