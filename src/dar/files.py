"""Reading and writing files, whole or not at all; JSON among them."""

import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from dar.errors import DARError
from dar.json_text import parse_json

CONFIG = "config.json"
"""Name of a file of settings, as the Hub's libraries call it."""

MOST_BYTES = 2**28
"""Of a file of text that is read whole; a longer one holds something else."""

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}
"""Error numbers that mean that a disk is full, or takes nothing."""


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; put it in place of ``path`` if the block succeeds, else remove it.

    The block may create a file or a folder there. Once it is in place, it is on the disk too: a crash loses nothing.

    Raises:
        DARError: if the folder cannot be written to, or the disk is full.
    """
    is_new = not path.parent.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise DARError(f"cannot write to {path.parent} ({error.strerror}): choose another output folder") from error
    try:
        yield aside / path.name
        sync(aside / path.name)
        (aside / path.name).replace(path)
        flush(path.parent)
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno not in _UNWRITABLE:
            raise
        raise DARError(f"cannot write {path} ({error}): make room, or choose another place") from error
    finally:
        _remove(aside)
        if is_new and not any(path.parent.iterdir()):
            path.parent.rmdir()


def _remove(folder: Path) -> None:
    """Remove a folder, even if Ctrl-C comes meanwhile."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def sync(path: Path) -> None:
    """Flush a file, or a folder with all its content, to the disk itself."""
    if path.is_dir():
        for inside in path.iterdir():
            sync(inside)
    flush(path)


def flush(path: Path) -> None:
    """Flush a file's content, or the names in a folder, to the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_existing(path: Path) -> None:
    """Make sure that nothing is at a path, not even a link to nowhere.

    Raises:
        DARError: if there is.
    """
    if os.path.lexists(path):
        raise DARError(f"{path} exists already: choose another output folder")


def is_there(path: Path) -> bool:
    """Tell whether something is at a path, if only a link to nowhere; no name is too odd or too long to ask for."""
    try:
        return path.exists() or path.is_symlink()
    except (OSError, ValueError):  # too long a name, or a null byte
        return False


def check_regular_file(path: Path) -> None:
    """Make sure that reading a file cannot wait for ever, as reading a pipe, a socket or a device may.

    Folders, and what is missing or cannot be looked at, are left to the reader's own words.

    Raises:
        DARError: if the path leads to none of these and no file either.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kind = "named pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
        raise DARError(f"{path} is a {kind}, not a file: write its content to a file, and give that")


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """Read a file of text in UTF-8, with or without a mark at its start that says so.

    Raises:
        DARError: if it is no regular file.
        OSError: if it cannot be read.
        ValueError: if it is no such text, or too long.
    """
    check_regular_file(path)
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it is longer than {most_bytes} bytes")
    return content.decode("utf-8-sig")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    with writing(path) as aside:
        aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DARError: if the file is missing, is not JSON, or is not an object.
    """
    try:
        content = parse_json(read_text(path))
    except FileNotFoundError:
        raise DARError(f"{path} does not exist: is {path.parent} a model folder?") from None
    except DARError:
        raise
    except (OSError, ValueError) as error:
        raise DARError(f"{path} cannot be read as JSON ({error}): copy or convert it again") from error
    if not isinstance(content, dict):
        raise DARError(f"{path} holds a {type(content).__name__}, not a JSON object: copy or convert it again")
    return content
