"""Reports side by side, where they were measured alike."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dar.errors import MAX_QUOTED, DARError, quoted
from dar.report.report import Estimate, Metric, Report, flattened, metric_named, shown

_SAMPLED = {"num": "--num", "reference": "--reference", "extractor": "--extractor"}
OPTIONS = {
    "generation": _SAMPLED,
    "sweep": _SAMPLED,
    "reconstruction": {"images": "--data", "count": "--num", "extractors": "--extractor", "lpips": "--lpips"},
    "layout": {"images": "--data", "count": "--num", "extractors": "--classifier", "tokens_kept": "--tokens"},
}
"""By kind of report: command-line options, by the names of the protocol's entries that they set."""

SHOWN_BEFORE = 20
"""Letters before the first difference of two long values."""

MARKS = {"best": " *", "noise": " ~", "": ""}
MARKS_EXPLAINED = "Marked * is the best of a row, and ~ what is within noise of it: their 95 % intervals overlap."

NO_DIFFERENCE = "The reports tell of no difference between what was measured."

_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b")


class _Absent:
    """Stands for an entry that one of two protocols lacks."""

    def __repr__(self) -> str:
        return "absent"


_ABSENT = _Absent()


@dataclass(frozen=True)
class Cell:
    """A metric of one report.

    Attributes:
        text: value and interval.
        standing: "best" of its row, within "noise" of the best, or neither.
    """

    text: str
    standing: Literal["best", "noise", ""] = ""

    def __str__(self) -> str:
        return self.text + MARKS[self.standing]


@dataclass(frozen=True)
class Row:
    """A metric in several reports.

    Attributes:
        space: that it was measured in.
        metric: what it is.
        cells: one a report.
    """

    space: str
    metric: Metric
    cells: tuple[Cell, ...]

    @property
    def title(self) -> str:
        """The metric's, with its unit."""
        return f"{self.metric.title}, {self.metric.unit}" if self.metric.unit else self.metric.title


@dataclass(frozen=True)
class Comparison:
    """Metrics of several reports, and in what their subjects differ.

    Attributes:
        kind: of all the reports.
        names: one a report.
        rows: of metrics.
        differences: entries of the subjects that are not the same in all, by dotted path; hashes are shortened.
    """

    kind: str
    names: tuple[str, ...]
    rows: tuple[Row, ...]
    differences: dict[str, tuple[str, ...]]

    def text(self) -> str:
        """Write tables for a terminal."""
        return self._joined(_text_table)

    def markdown(self) -> str:
        """Write tables in Markdown."""
        return f"# Comparison: {_markdown(self.kind)}\n\n{self._joined(_markdown_table)}"

    def _joined(self, table: Callable[[Sequence[Sequence[str]]], str]) -> str:
        metrics = [("space", "metric", "better", *self.names)]
        metrics += [(row.space, row.title, row.metric.better or "", *map(str, row.cells)) for row in self.rows]
        parts = [table(metrics), MARKS_EXPLAINED]
        if self.differences:
            parts.append(table([("subject", *self.names), *((path, *by) for path, by in self.differences.items())]))
        else:
            parts.append(NO_DIFFERENCE)
        return "\n\n".join(parts) + "\n"


def check_comparable(a: Report, b: Report, names: tuple[str, str] = ("the first report", "the second")) -> None:
    """Make sure that two reports were measured alike: metrics of different protocols say nothing about models.

    Raises:
        DARError: naming every entry of the protocols that differs, with both values.
    """
    one, other = map(quoted, names)
    if a.kind != b.kind:
        raise DARError(
            f"{one} is an evaluation of {quoted(a.kind)} and {other} one of {quoted(b.kind)}: "
            "compare reports of one kind"
        )
    first, second = flattened(a.protocol), flattened(b.protocol)
    different = {
        path: _distinguished(first.get(path, _ABSENT), second.get(path, _ABSENT))
        for path in first | second
        if first.get(path, _ABSENT) != second.get(path, _ABSENT)
    }
    if different:
        listing = "; ".join(f"{quoted(path)} is {x} and {y}" for path, (x, y) in different.items())
        options = sorted({option for path in different if (option := _option(a.kind, path))})
        by = f", by {' and '.join(options)}" if options else ""
        raise DARError(
            f"{one} and {other} were measured differently, so that they cannot be compared: {listing}: "
            f"measure one of them again with the protocol of the other{by}"
        )


def _option(kind: str, path: str) -> str | None:
    """Find the option that sets an entry of the protocol: that of the last of its names which has one."""
    options = OPTIONS.get(kind, {})
    return next((options[name] for name in reversed(path.split(".")) if name in options), None)


def compare_reports(reports: Sequence[Report], names: Sequence[str]) -> Comparison:
    """Put reports side by side.

    Args:
        reports: two or more.
        names: what to call them.

    Raises:
        DARError: if they were not measured alike.
        ValueError: if there are fewer than two, or not as many names.
    """
    if len(reports) < 2 or len(names) != len(reports):
        raise ValueError(f"{len(reports)} reports and {len(names)} names cannot be compared")
    for report, name in zip(reports[1:], names[1:], strict=True):
        check_comparable(reports[0], report, (names[0], name))
    keys = {(space, key): None for report in reports for space, by in report.metrics.items() for key in by}
    rows = [
        _row(space, metric_named(key), [report.metrics.get(space, {}).get(key) for report in reports])
        for space, key in keys
    ]
    return Comparison(reports[0].kind, tuple(names), tuple(rows), _differences([report.subject for report in reports]))


def _distinguished(x: Any, y: Any) -> tuple[str, str]:
    """Write two different JSON values, as short as shows the difference."""
    brief = _brief(x), _brief(y)
    if brief[0] != brief[1]:
        return brief
    one, other = repr(x), repr(y)
    if max(len(one), len(other)) <= MAX_QUOTED:
        return one, other
    pairs = enumerate(zip(one, other, strict=False))
    start = max(0, next((i for i, (a, b) in pairs if a != b), len(one)) - SHOWN_BEFORE)
    return _cut(one, start), _cut(other, start)


def _cut(text: str, start: int) -> str:
    """Cut off what surrounds a difference."""
    end = start + MAX_QUOTED
    return f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"


def _brief(value: Any) -> str:
    """Write a JSON value on one line, with hashes cut to 12 digits."""
    return repr(value) if value is _ABSENT else quoted(_HASH.sub(r"\1", shown(value)))


def _row(space: str, metric: Metric, estimates: Sequence[Estimate | None]) -> Row:
    there = [estimate for estimate in estimates if estimate is not None]
    best = None
    if metric.better and len({estimate.value for estimate in there}) > 1:
        best = (min if metric.better == "lower" else max)(there, key=lambda estimate: estimate.value)
    return Row(space, metric, tuple(_cell(metric, estimate, best) for estimate in estimates))


def _cell(metric: Metric, estimate: Estimate | None, best: Estimate | None) -> Cell:
    if estimate is None:
        return Cell("absent")
    interval = metric.interval(estimate)
    text = metric.number(estimate.value) + (f" ({interval})" if interval else "")
    if best is None:
        return Cell(text)
    if estimate.value == best.value:
        return Cell(text, "best")
    return Cell(text, "noise" if _overlap(estimate, best) else "")


def _overlap(a: Estimate, b: Estimate) -> bool:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return False
    return a.low <= b.high and b.low <= a.high


def _differences(subjects: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    flat = [flattened(subject) for subject in subjects]
    paths = {path: None for entries in flat for path in entries}
    values = {path: [entries.get(path, _ABSENT) for entries in flat] for path in paths}
    return {path: tuple(map(_brief, by)) for path, by in values.items() if any(value != by[0] for value in by)}


def _text_table(rows: Sequence[Sequence[str]]) -> str:
    clean = [[quoted(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*clean, strict=True)]
    clean.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in clean)


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(map(_markdown, row))} |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines)


def _markdown(text: str) -> str:
    """Escape plain text so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_<>&|\[\]~#$])", r"\\\1", quoted(text))
