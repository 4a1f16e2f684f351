"""Options and steps that several commands share."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import typer

from dar.checks import spelled_number
from dar.dtypes import DTYPES, checked_dtype
from dar.errors import DARError, printable, quoted
from dar.fields import MOST_WORKERS

SOURCES = "Folder with a subfolder of images per class, Parquet file, WebDataset shards (.tar), or Hub id."

MOST_AT_ONCE = 100_000
"""Images that one batch may have."""

MOST_SAMPLES = 10_000_000
"""Images that one command may sample."""

Model = Annotated[str | None, typer.Option(help="Folder or Hub id of a model; the bundled one by default.")]
Seed = Annotated[int, typer.Option(help="Image i uses seed + i.")]
Num = Annotated[int, typer.Option(min=1, max=MOST_SAMPLES, help="Number of images.")]
Labels = Annotated[str, typer.Option(help="random, or balanced: equally many of each class.")]
OnlyClasses = Annotated[
    list[str] | None, typer.Option("--class", help="Only this class, name or index; repeat it for several.")
]
Chunk = Annotated[int, typer.Option(min=1, max=MOST_AT_ONCE, help="Consecutive images computed as one batch.")]
Rounding = Annotated[str, typer.Option(help="adm: down from 127.5 (x + 1); dit: down from 127.5 x + 128.")]
ImageColumn = Annotated[
    str, typer.Option(help="Column of the images, or their ending in tars, where several fit; found by default.")
]
LabelColumn = Annotated[
    str, typer.Option(help="Column of the labels, or their ending in tars, where several fit; found by default.")
]
Metadata = Annotated[bool, typer.Option("--metadata/--no-metadata", help="Record in PNG files how they were made.")]
Device = Annotated[str, typer.Option(parser=str.lower, metavar="DEVICE", help="Where to compute, such as cpu or cuda.")]
Dtype = Annotated[
    str,
    typer.Option(
        callback=checked_dtype,
        metavar="|".join(DTYPES),
        help="Number format of the weights and of most of what is computed; changes results, and is recorded.",
    ),
]
BatchSize = Annotated[
    str, typer.Option(metavar="INTEGER|auto", help="Images computed at a time; auto: as many as fit into memory.")
]
Workers = Annotated[int, typer.Option(min=0, max=MOST_WORKERS, help="Processes that decode images ahead.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace pictures that are there already.")]

INTERRUPTED = 130
"""Exit code after Ctrl-C, so that a script does not go on without a model or samples."""


def say(text: object, *, error: bool = False) -> None:
    """Print a line; names from outside in it steer no terminal.

    Args:
        text: what to print.
        error: whether it goes to standard error.
    """
    typer.echo(printable(text), err=error)


@contextmanager
def interruptible(after: str) -> Iterator[None]:
    """Let Ctrl-C end a long job with a message on what then holds, and with a code of its own."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"interrupted; {after}")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def noticing_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end the block also where libraries that are being imported swallow it and then fail.

    Raises:
        KeyboardInterrupt: in place of what a library that is half imported raises.
    """
    pressed = False

    def notice(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # such as ignored, in the background
        yield
        return
    signal.signal(signal.SIGINT, notice)
    try:
        yield
    except (ImportError, AttributeError, NameError, RecursionError) as error:
        if pressed:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def probe_output(out: Path, names: Iterable[str] = (), *, overwrite: bool = False) -> None:
    """Make sure, before anything is spent, that a folder can be written to; leaves nothing behind.

    Raises:
        DARError: if it can't, or one of the files is there already and may not be replaced.
    """
    new = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        _try_output(out, names, overwrite=overwrite)
    finally:
        for folder in new:
            with suppress(OSError):
                folder.rmdir()


def _try_output(out: Path, names: Iterable[str], *, overwrite: bool) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".dar-write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DARError(f"cannot write to {out} ({error.strerror}): choose another --out folder") from error
    if not overwrite and (there := [name for name in names if (out / name).exists()]):
        raise DARError(f"{out / there[0]} exists already: choose another --out folder, or pass --overwrite")


def rank_and_world_size() -> tuple[int, int]:
    """Read this process's rank and the world size, which launchers set as RANK and WORLD_SIZE.

    Raises:
        DARError: if these cannot be.
    """
    texts = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    rank, size = map(spelled_number, texts)
    if rank is None or size is None or not 0 <= rank < size:
        given = " and ".join(f"{name}={quoted(text)}" for name, text in zip(("RANK", "WORLD_SIZE"), texts, strict=True))
        raise DARError(f"{given} cannot be: RANK counts from 0 to WORLD_SIZE - 1")
    return rank, size


def own_device(device: str) -> str:
    """Choose the device of this process: of several on one machine, each has a GPU of its own."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" and "LOCAL_RANK" in os.environ else device


def batch_size(text: str) -> Literal["auto"] | int:
    """Read a number of images to compute at a time, or "auto".

    Raises:
        DARError: if it is neither.
    """
    word = text.strip().lower()
    if word == "auto":
        return "auto"
    number = spelled_number(word)
    if number is None or not 1 <= number <= MOST_AT_ONCE:
        raise DARError(f"--batch-size must be a whole number from 1 to {MOST_AT_ONCE}, or auto, not {quoted(text)}")
    return number
