"""What an evaluation found, and all that is needed to judge and repeat it."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A figure, and how far it can be trusted.

    Attributes:
        value: the figure itself, of all samples.
        low: lower end of its 95 % confidence interval; None where none was estimated.
        high: upper end of it.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Point:
    """A point of a curve.

    Attributes:
        x: its place along the curve's x axis.
        y: along the y axis.
        label: written beside it; may be empty.
    """

    x: float
    y: float
    label: str = ""


@dataclass(frozen=True)
class Curve:
    """Points to draw, joined in their order.

    Attributes:
        title: what it shows; curves of one title are drawn into one panel.
        x_name: what lies along the x axis, with its unit.
        y_name: along the y axis.
        points: of the curve.
        name: tells it from others in its panel; may be empty.
    """

    title: str
    x_name: str
    y_name: str
    points: tuple[Point, ...]
    name: str = ""


@dataclass(frozen=True)
class Report:
    """An evaluation.

    Attributes:
        kind: "generation", "samples", "reconstruction", "layout" or "sweep".
        subject: what was measured, as JSON values: model and its hash, recipe, guidance schedule, solver, seeds; two
            reports that are compared may differ in it.
        protocol: how it was measured, as JSON values: extractors and their hashes, reference and its hash, counts and
            constants of the metrics; reports can be compared only if all of it is equal.
        figures: estimates by space, and within it by metric: {"inception-2015": {"fid": ...}}.
        curves: to draw.
        environment: date, seconds, hardware, versions.
    """

    kind: str
    subject: dict[str, Any]
    protocol: dict[str, Any]
    figures: dict[str, dict[str, Estimate]]
    curves: tuple[Curve, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)
