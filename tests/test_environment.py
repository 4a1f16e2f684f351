import json

from dar.environment import run_record


def test_a_run_can_be_written_and_tells_when_where_and_by_what() -> None:
    record = run_record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["time"].endswith("+00:00")
    assert "pytest" in record["command"]
    assert record["versions"]["torch"]
    assert record["hardware"]["cores"]
