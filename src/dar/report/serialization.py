"""Reports as strict JSON, and back."""

import json
import math
from typing import Any

from dar.errors import DARError, listed, quoted
from dar.json_text import parse_json
from dar.report.report import Curve, Estimate, Point, Report, flattened

VERSION = 1
"""Of the format."""

MARK = "dar_report"
"""The entry by which the JSON is recognised; it holds the version."""

_NAMES = (MARK, "kind", "subject", "protocol", "figures", "curves", "environment")
"""All entries."""


def to_json(report: Report) -> str:
    """Write a report as strict JSON, in which infinite metrics are the texts "inf" and "-inf".

    Raises:
        DARError: if a metric is not a number, or an entry elsewhere is not finite.
    """
    content = {
        MARK: VERSION,
        "kind": report.kind,
        "subject": report.subject,
        "protocol": report.protocol,
        "figures": {
            space: {metric: _encoded_estimate(estimate, f"{space}.{metric}") for metric, estimate in estimates.items()}
            for space, estimates in report.metrics.items()
        },
        "curves": [_encoded_curve(curve) for curve in report.curves],
        "environment": report.environment,
    }
    for path, entry in flattened(content).items():
        try:
            json.dumps(entry, allow_nan=False)
        except ValueError as error:
            raise DARError(
                f"the report's {quoted(path)} is not finite, which JSON cannot tell: leave it out"
            ) from error
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def from_json(text: str) -> Report:
    """Read a report from JSON that ``to_json`` made.

    Raises:
        ValueError: if anything is missing, of another type, not finite, nested too deep, or too much.
    """
    content = parse_json(text, finite=True)
    version = _typed(content, dict, "it").get(MARK)
    if version != VERSION:
        raise ValueError("it is none" if version is None else f"it is of version {quoted(version)}, not {VERSION}")
    _check_names(content, set(_NAMES), "it")
    json.dumps(content, allow_nan=False)  # numbers that no float can hold have become infinite
    flattened(content)
    return Report(
        kind=_typed(content["kind"], str, "kind"),
        subject=_typed(content["subject"], dict, "subject"),
        protocol=_typed(content["protocol"], dict, "protocol"),
        metrics={
            space: {metric: _estimate(entry, f"{space}.{metric}") for metric, entry in _typed(by, dict, space).items()}
            for space, by in _typed(content["figures"], dict, "figures").items()
        },
        curves=tuple(_curve(entry, f"curve {i}") for i, entry in enumerate(_typed(content["curves"], list, "curves"))),
        environment=_typed(content["environment"], dict, "environment"),
    )


def _encoded_estimate(estimate: Estimate, where: str) -> dict[str, float | str | None]:
    interval = {
        name: None if end is None else _encoded(end, where)
        for name, end in (("low", estimate.low), ("high", estimate.high))
    }
    return {"value": _encoded(estimate.value, where), **interval}


def _encoded_curve(curve: Curve) -> dict[str, Any]:
    texts = {name: getattr(curve, name) for name in ("title", "name", "x_name", "y_name")}
    points = [
        {"x": _encoded(point.x, curve.title), "y": _encoded(point.y, curve.title), "label": point.label}
        for point in curve.points
    ]
    return {**texts, "points": points}


def _encoded(value: float, where: str) -> float | str:
    if math.isnan(value):
        raise DARError(f"the report's {quoted(where)} is not a number (NaN): check what was measured")
    return str(float(value)) if math.isinf(value) else float(value)


def _estimate(entry: Any, where: str) -> Estimate:
    _check_names(entry, {"value", "low", "high"}, where)
    low, high = (None if entry[name] is None else _number(entry[name], where) for name in ("low", "high"))
    return Estimate(_number(entry["value"], where), low, high)


def _curve(entry: Any, where: str) -> Curve:
    texts = ("title", "name", "x_name", "y_name")
    _check_names(entry, {*texts, "points"}, where)
    points = tuple(_point(point, where) for point in _typed(entry["points"], list, where))
    return Curve(points=points, **{name: _typed(entry[name], str, where) for name in texts})


def _point(entry: Any, where: str) -> Point:
    _check_names(entry, {"x", "y", "label"}, f"a point of {where}")
    return Point(_number(entry["x"], where), _number(entry["y"], where), _typed(entry["label"], str, where))


def _check_names(entry: Any, names: set[str], where: str) -> None:
    found = set(_typed(entry, dict, where))
    if missing := names - found:
        raise ValueError(f"{where} lacks {listed(missing)}")
    if extra := found - names:
        raise ValueError(f"{where} has more than it should: {listed(extra)}")


def _typed(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{where} is a {type(value).__name__}, not a {kind.__name__}")
    return value


def _number(value: Any, where: str) -> float:
    if value in ("inf", "-inf"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where} holds {quoted(value)} where a number should be")
    return float(value)
