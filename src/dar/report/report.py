"""The report of an evaluation: what was measured, and all that is needed to judge and repeat it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from dar.metrics.confidence import mean_confidence

LONGEST_SHOWN = 600
"""Letters of an entry that people get to see outside the JSON."""


@dataclass(frozen=True)
class Estimate:
    """A measured number, and how far it can be trusted.

    Attributes:
        value: the number itself, of all samples.
        low: lower end of its 95 % confidence interval; None where none was estimated.
        high: upper end of it.

    Raises:
        ValueError: if one end is there without the other, or the value does not lie between them.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has a lower and an upper end, or neither")
        if self.low is not None and self.high is not None and not self.low <= self.value <= self.high:
            raise ValueError(f"the value {self.value} does not lie in the interval from {self.low} up to {self.high}")


def mean_estimate(values_N: Tensor) -> Estimate:
    """Take the mean of one value an image, with its interval; shares of images keep within 0 to 1."""
    values_N = values_N.double()
    low, high = mean_confidence(values_N)
    if not ((values_N == 0) | (values_N == 1)).all():
        return Estimate(values_N.mean().item(), low, high)
    return Estimate(values_N.mean().item(), max(low, 0.0), min(high, 1.0))


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
        name: its entry in the legend of the panel; may be empty.
    """

    title: str
    x_name: str
    y_name: str
    points: tuple[Point, ...]
    name: str = ""


@dataclass(frozen=True)
class Report:
    """What an evaluation measured, and how.

    Attributes:
        kind: "generation", "reconstruction", "layout" or "sweep".
        subject: what was measured, as JSON values: model and its hash, recipe, guidance schedule, solver, seeds; two
            reports that are compared may differ in it.
        protocol: how it was measured, as JSON values: extractors and their hashes, reference and its hash, counts and
            constants of the metrics; reports can be compared only if all of it is equal.
        metrics: estimates by space, and within it by metric: {"inception-2015": {"fid": ...}}.
        curves: to draw.
        environment: seconds that it took, and ``dar.environment.run_record``.
    """

    kind: str
    subject: dict[str, Any]
    protocol: dict[str, Any]
    metrics: dict[str, dict[str, Estimate]]
    curves: tuple[Curve, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """How to show a metric.

    Attributes:
        title: what people call it.
        better: which direction is; None where that is not known.
        digits: after the decimal point.
        unit: empty where it has none.
    """

    title: str
    better: Literal["lower", "higher"] | None
    digits: int
    unit: str = ""

    def number(self, value: float) -> str:
        """Write a value, without its unit; one too small for the digits keeps two significant ones."""
        if value and abs(value) < 10 ** (1 - self.digits):
            return f"{value:.2g}"
        return f"{value:.{self.digits}f}"

    def interval(self, estimate: Estimate) -> str:
        """Write the 95 % interval of an estimate of the metric; empty where there is none."""
        if estimate.low is None or estimate.high is None:
            return ""
        return f"{self.number(estimate.low)} to {self.number(estimate.high)}"


METRICS = {
    "fid": Metric("FID", "lower", 2),
    "sfid": Metric("sFID", "lower", 2),
    "frechet_distance": Metric("Fréchet distance", "lower", 2),
    "inception_score": Metric("Inception Score", "higher", 2),
    "precision": Metric("precision", "higher", 3),
    "recall": Metric("recall", "higher", 3),
    "class_accuracy": Metric("class accuracy", "higher", 3),
    "rfid": Metric("rFID", "lower", 2),
    "psnr": Metric("PSNR", "higher", 2, "dB"),
    "ssim": Metric("SSIM", "higher", 3),
    "lpips": Metric("LPIPS", "lower", 3),
    "codebook_usage": Metric("codebook usage", "higher", 3),
    "codebook_perplexity": Metric("codebook perplexity", "higher", 1),
    "layout_similarity": Metric("layout similarity", "higher", 2, "dB"),
    "label_agreement": Metric("label agreement", "higher", 3),
}
"""By their names in reports, in the order in which to show them."""


def metric_named(key: str) -> Metric:
    """Look up how to show the metric that reports call ``key``; an unknown one is shown under that name."""
    return METRICS.get(key, Metric(key, None, 4))


def flattened(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten nested JSON objects to their entries by dotted path; lists are entries, unless they hold objects.

    >>> flattened({"reference": {"hash": "ab", "sizes": [1, 2]}, "parts": [{"seed": 3}]})
    {'reference.hash': 'ab', 'reference.sizes': [1, 2], 'parts.0.seed': 3}
    """
    return dict(_leaves(settings))


def _leaves(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
            value = {str(i): item for i, item in enumerate(value)}
        if isinstance(value, dict) and value:
            yield from ((f"{name}.{path}", leaf) for path, leaf in _leaves(value))
        else:
            yield name, value


def shown(value: Any) -> str:
    """Write a JSON value as people read it; of a very long one, the beginning."""
    if isinstance(value, list | tuple) and all(isinstance(item, str | int | float) for item in value):
        text = ", ".join(map(shown, value))
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}… ({len(text)} characters)"
