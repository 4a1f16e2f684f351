import json

import pytest

from dar.environment import run_record


def test_a_run_can_be_written_and_tells_when_where_and_by_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["dar", "train", "prior"])
    record = run_record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["time"].endswith("+00:00")
    assert "train prior" in record["command"]
    assert record["versions"]["torch"]
    assert record["hardware"]["cores"]
