"""Reports to write, read and compare."""

import dataclasses
from typing import Any

from dar.report.report import Curve, Estimate, Point, Report

HOSTILE = "<script>alert('x')</script> & \"quoted\" <img src=http://evil.example/x.png onerror=alert(1)>"

CURVE = Curve(
    "PSNR by groups", "groups decoded", "PSNR in dB", (Point(1, 14.5, "first"), Point(2, 17.0), Point(4, 19.25, "all"))
)
REPORT = Report(
    kind="generation",
    subject={"model": {"path": "runs/a", "hash": "9f" * 32}, "guidance": [1.0, 5.0], "seed": 0, "recipe": None},
    protocol={
        "extractors": {"inception-2015": "ab" * 32},
        "reference": {"name": "train", "hash": "12" * 32},
        "num": 50000,
        "balanced": True,
    },
    metrics={
        "inception-2015": {
            "fid": Estimate(12.3456, 11.9, 12.8),
            "precision": Estimate(0.5, 0.45, 0.55),
            "psnr": Estimate(float("inf")),
        },
        "small": {"own metric": Estimate(-3.0)},
    },
    curves=(CURVE, dataclasses.replace(CURVE, title="other", name="linear")),
    environment={"time": "2026-01-02T03:04:05+00:00", "seconds": 12.5},
)


def report(**changes: Any) -> Report:
    """The report above with some of its parts replaced."""
    return dataclasses.replace(REPORT, **changes)
