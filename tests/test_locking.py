"""One owner of a folder at a time."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dar import locking
from dar.errors import DARError
from dar.locking import LOCK, owned

OWNER = """
import sys, time
from pathlib import Path
from dar.locking import owned
with owned(Path(sys.argv[1])):
    print("owned", flush=True)
    time.sleep(60)
"""


@contextmanager
def owner(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "owned\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_process_is_refused_and_told_who_owns_it(tmp_path: Path) -> None:
    with owner(tmp_path) as process:
        told = rf"is in use by process {process.pid} on .*, since 20.* UTC: wait for it"
        with pytest.raises(DARError, match=told), owned(tmp_path):
            pass
        assert (tmp_path / LOCK).exists(), "the owner's lock stays"


def test_a_dead_owners_lock_is_taken_over_at_once(tmp_path: Path) -> None:
    with owner(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / LOCK).exists()
    started = time.monotonic()
    with owned(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert time.monotonic() - started < 5


def test_nothing_is_left_however_the_block_ends(tmp_path: Path) -> None:
    with pytest.raises(KeyError), owned(tmp_path):
        raise KeyError
    assert not list(tmp_path.iterdir())
    with owned(tmp_path):
        pass


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(locking, "SILENT_SECONDS", 0.5)


@contextmanager
def owner_on_another_machine(path: Path) -> Iterator[None]:
    """As a network disk shows one that locks for each machine alone: a file that is kept fresh."""
    path.write_text(json.dumps({"host": "elsewhere", "pid": 7, "since": "2026-01-01 00:00:00 UTC"}))
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.02):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.usefixtures("quick")
def test_an_owner_on_another_machine_is_watched(tmp_path: Path) -> None:
    told = "is in use by process 7 on elsewhere, since 2026"
    with owner_on_another_machine(tmp_path / LOCK), pytest.raises(DARError, match=told), owned(tmp_path):
        pass
    with owned(tmp_path):  # it is silent now
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


@pytest.mark.usefixtures("quick")
def test_a_disk_that_cannot_lock_goes_by_the_beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lockf(descriptor: int, command: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with owned(tmp_path), pytest.raises(DARError, match=f"in use by process {os.getpid()}"), owned(tmp_path):
        pass
    (tmp_path / LOCK).write_text("torn")
    with owned(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DARError, match="cannot write to"), owned(tmp_path / "file"):
        pass
