from pathlib import Path

import pytest

from benchmarks.half_precision import HEADINGS, measured
from dar.prior.guidance import Guidance


def test_types_are_compared_with_float32(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.half_precision.BATCH", 2)  # so that there are several batches
    first, *halves = measured(str(model), 3, Guidance(3, 3), 0)
    assert first[:5] == ("float32", "100.0%", "100.0%", "inf", "inf")
    assert [row[0] for row in halves] == ["bfloat16", "float16"]
    for row in halves:
        assert 15 < float(row[4]) <= float(row[3]) < 100  # dB: rounded, not another image
        assert float(row[6]) == pytest.approx(float(first[6]) / 2, abs=0.1)
        assert len(row) == len(HEADINGS)
