"""Bars where a person watches, lines in a log."""

import io
import time

import pytest
from tqdm import tqdm

from dar.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, updates: int, **settings: object) -> str:
    """What is written on standard error while a job goes on."""
    monkeypatch.setattr("sys.stderr", stream)
    with progress_bar(updates, **settings) as bar:
        for i in range(updates):
            bar.set_postfix_str(f"loss {i}")
            tqdm.write("a word", file=io.StringIO())
            bar.update()
    return stream.getvalue()


def test_a_terminal_sees_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "%|" in told(monkeypatch, Terminal(), 3)


def test_a_notebook_sees_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    assert "%|" in told(monkeypatch, stream, 3)


def test_a_log_has_one_line_of_a_short_job(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = told(monkeypatch, io.StringIO(), 50, desc="tokenizing")
    assert heard.count("\n") == 1
    assert heard.startswith("tokenizing: 50 of 50 images, ")
    assert "\r" not in heard
    assert "loss 49" in heard


def test_a_log_has_a_line_an_update_where_that_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told(monkeypatch, io.StringIO(), 3, log_seconds=0.0).splitlines()
    assert [line.split(",")[0] for line in lines] == ["1 of 3 images", "2 of 3 images", "3 of 3 images"]


def test_lines_of_a_log_are_some_time_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with progress_bar(100, log_seconds=0.2) as bar:
        for _ in range(100):
            time.sleep(0.005)
            bar.update()
    lines = stream.getvalue().splitlines()
    assert 2 <= len(lines) <= 1 + bar.format_dict["elapsed"] / 0.2
    assert lines[-1].startswith("100 of 100 images")


def test_a_job_of_unknown_length_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with progress_bar(None, desc="looking") as bar:
        bar.update(7)
    assert "looking: 7image" in stream.getvalue()


def test_nothing_is_told_where_another_process_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (io.StringIO(), Terminal()):
        assert told(monkeypatch, stream, 3, shown=False) == ""
