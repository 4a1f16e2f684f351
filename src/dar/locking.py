"""One owner of a folder at a time, across processes and machines.

The owner holds a file in the folder: locked by the kernel, which forgets the lock when the process dies, and kept fresh
by a beat, since some network disks lock for one machine alone or not at all.
"""

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dar.errors import DARError, quoted
from dar.json_text import parse_json
from dar.progress import say

LOCK = ".lock"
"""Name of the file in a folder that is owned."""

BEAT_SECONDS = 5.0
"""Time after which an owner touches the file again."""

SILENT_SECONDS = 20.0
"""Time after which an owner on another machine that touches nothing is taken for dead."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""Error numbers of disks that cannot lock."""


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Own an existing folder within the block. The lock of a dead owner is taken over.

    Raises:
        DARError: if another process owns it, naming that one, or the folder cannot be written to.
    """
    path = folder / LOCK
    descriptor = _acquired(path)
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(descriptor, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        with suppress(OSError):
            path.unlink(missing_ok=True)  # before the lock goes, so that nobody can take a file that is about to vanish
        os.close(descriptor)


def _acquired(path: Path) -> int:
    """Open and lock the file, with this process's record in it."""
    while True:
        descriptor, is_new = _opened(path)
        try:
            _take(path, descriptor, is_new)
            if _is_at(path, descriptor):  # else the last owner removed it in the meantime
                record = {"host": socket.gethostname(), "pid": os.getpid(), "since": f"{datetime.now(UTC):%F %T} UTC"}
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(record).encode(), 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _opened(path: Path) -> tuple[int, bool]:
    """Open the file, and tell whether it is new; of several processes that make it at once, one alone made it."""
    try:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644), True
        except FileExistsError:
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o644), False
    except OSError as error:
        raise DARError(f"cannot write to {path.parent} ({error.strerror}): choose another output folder") from error


def _take(path: Path, descriptor: int, is_new: bool) -> None:
    """Lock the file, or find that its owner lives."""
    is_locked = _locked(path, descriptor)
    owner = _record(descriptor)
    died_here = is_locked and (not owner or owner.get("host") == socket.gethostname())
    if is_new or died_here:
        return
    say(f"{path.parent} was last used by {_name(owner)}: watching whether that still lives")
    if _is_beating(path):
        raise _in_use(path, owner)
    _locked(path, descriptor)  # again: closing a file, as watching does, unlocks it


def _locked(path: Path, descriptor: int) -> bool:
    """Try to lock the file; tell whether the disk could."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise _in_use(path, _record(descriptor)) from None
        return False
    return True


def _is_beating(path: Path) -> bool:
    """Watch whether the file is kept fresh; clocks of machines need not agree for that."""
    before, deadline = _time_of(path), time.monotonic() + SILENT_SECONDS
    while time.monotonic() < deadline:
        time.sleep(min(1.0, SILENT_SECONDS / 10))
        if _time_of(path) != before:
            return True
    return False


def _time_of(path: Path) -> int:
    """Find when the file was last touched; a network disk asks its server only where a file is opened."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return 0


def _beat(descriptor: int, ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        with suppress(OSError):  # a disk that is away for a while
            os.utime(descriptor)


def _record(descriptor: int) -> dict[str, Any]:
    try:
        record = parse_json(os.pread(descriptor, 4096, 0))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        there = path.stat()
    except OSError:
        return False
    ours = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _in_use(path: Path, owner: dict[str, Any]) -> DARError:
    return DARError(f"{path.parent} is in use by {_name(owner)}: wait for it, stop it, or choose another folder")


def _name(owner: dict[str, Any]) -> str:
    if not owner:
        return "another process"
    return f"process {owner.get('pid')} on {quoted(owner.get('host'))}, since {quoted(owner.get('since'))}"
