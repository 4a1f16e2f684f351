from dataclasses import replace

import pytest

from dar.data import DataSummary
from dar.inspection.captions import CaptionSummary
from dar.inspection.report import MAX_LISTED, DataReport, Duplicate
from dar.inspection.sizes import Sizes

SUMMARY = DataSummary("photos", "class folders", "train", 1200, ("cat", "dog"), 0, False, 1200)
NOTHING = DataReport(
    summary=SUMMARY,
    looked_at=1200,
    complete=True,
    streaming=False,
    broken=(),
    sizes=None,
    formats={},
    modes={},
    transparent=0,
    classes={},
    unlabelled=0,
    captions=None,
    duplicates=(),
    refusal=None,
    seconds=2.0,
)


def told(report: DataReport, title: str, *, all_classes: bool = False) -> list[str]:
    """The line of a title, and the lines that belong to it."""
    lines = list(report.lines(all_classes=all_classes))
    start = next(i for i, line in enumerate(lines) if line.startswith(title))
    end = next((i for i in range(start + 1, len(lines)) if not lines[i].startswith("  ")), len(lines))
    return [lines[start].removeprefix(title).strip(), *(line.strip() for line in lines[start + 1 : end])]


def sizes(*given: tuple[int, int], size: int | None = None) -> DataReport:
    found = Sizes()
    for width, height in given:
        found.add(width, height)
    return replace(NOTHING, sizes=found.summary(size), looked_at=len(given))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "all 1,200 images, 600 a second"),
        ({"looked_at": 1, "complete": False, "seconds": 0.0}, "1 image, drawn from all over the data, at once"),
        (
            {"looked_at": 500, "complete": False, "streaming": True},
            "500 images, the first ones of the stream, 250 a second",
        ),
    ],
)
def test_what_was_looked_at(changes: dict[str, object], line: str) -> None:
    assert told(replace(NOTHING, **changes), "looked at") == [line]  # type: ignore[arg-type]


def test_the_first_broken_pictures_are_named() -> None:
    assert told(NOTHING, "broken") == ["none"]
    lines = told(replace(NOTHING, broken=tuple(f"{i}.png" for i in range(MAX_LISTED + 5))), "broken")
    assert lines == [f"{MAX_LISTED + 5} pictures", *(f"{i}.png" for i in range(MAX_LISTED)), "... and 5 more"]


def test_sizes_and_shapes() -> None:
    assert told(sizes((32, 32), (32, 32)), "sizes") == ["all 32 x 32"]
    assert told(sizes((32, 32)), "shapes") == ["all square"]
    assert told(sizes((64, 32)), "shapes") == ["width to height 2.00"]
    mixed = sizes((100, 50), (10, 20), (900, 90), size=64)
    assert told(mixed, "sizes") == [
        "smallest 10 x 20, median 100 x 50, largest 900 x 90; 3 different ones, shortest side 10",
        "2 (66.7%) have a shorter side below 64 pixels: training enlarges them",
    ]
    assert told(mixed, "shapes")[0].endswith("1 longer than 4 to 1, of which the middle alone is used")


def test_formats_and_transparency() -> None:
    report = replace(sizes((1, 1)), formats={"PNG": 3, "JPEG": 1000}, modes={"RGBA": 3, "RGB": 1000}, transparent=3)
    assert told(report, "formats") == ["JPEG 1,000, PNG 3"]
    assert told(report, "pixels") == ["RGB 1,000, RGBA 3; 3 with transparency, which is laid over white"]


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ([5, 5], "2, of 5 images each"),
        ([1], "1, of 1 image each"),
        ([6, 5], "2, of 5 to 6 images each"),
        ([10, 4], "2, of 4 to 10 images each; the largest is 2.5 times the smallest"),
        ([10, 0, 0], "3, of 0 to 10 images each; 2 without any image"),
    ],
)
def test_balance_of_classes(counts: list[int], line: str) -> None:
    report = replace(NOTHING, classes={f"class {i}": count for i, count in enumerate(counts)})
    assert told(report, "classes")[0] == line


def test_classes_are_sorted_by_size_and_shortened() -> None:
    report = replace(NOTHING, classes={f"class {i}": i for i in range(1, 31)}, unlabelled=4)
    shown = told(report, "classes")[1:]
    assert (shown[0], shown[10], shown[-1]) == ("30  class 30", "... 10 more, which --all tells", "1  class 1")
    assert len(told(report, "classes", all_classes=True)) == 31
    assert told(report, "unlabelled") == ["4 images"]


def test_no_classes() -> None:
    assert told(NOTHING, "classes") == ["none"]


def test_captions() -> None:
    assert told(NOTHING, "captions") == ["none"]
    report = replace(NOTHING, captions=CaptionSummary(1199, 600, 4, 12, ("a cat", "a dog")))
    assert told(report, "captions") == [
        "1,199 images have one (99.9%), 600 different; words: median 4, at most 12",
        "a cat",
        "a dog",
    ]


def test_duplicates_under_different_classes_come_first() -> None:
    plain = Duplicate(("a.png", "b.png", "c.png"), ("cat", "cat", "cat"), ("", "", ""), identical_files=True)
    captioned = Duplicate(("g.png", "h.png"), ("", ""), ("one", "two"), identical_files=False)
    conflict = Duplicate(("d.png", "e.jpg"), ("cat", "dog"), ("", ""), identical_files=False)
    assert told(NOTHING, "duplicates") == ["none"]
    assert told(replace(NOTHING, duplicates=(plain, captioned, conflict)), "duplicates") == [
        "3 pictures more than once, 4 copies too many; 1 UNDER DIFFERENT CLASSES; 1 with different captions",
        "same pixels: d.png (cat) = e.jpg (dog)",
        'same pixels: g.png "one" = h.png "two"',
        "same file: a.png = b.png = c.png",
    ]
