"""Sampling shared by processes, any of which may be killed and started again: the samples are the same bytes.

A finished chunk is a file in ``samples.npz.parts/``. Process p computes the chunks of index p modulo their number.
Process 0 then waits for the others' chunks, computes those that nobody seems to be at, and joins all of them.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dar.dtypes import FLOAT32
from dar.environment import run_record
from dar.errors import DARError, quoted
from dar.files import read_json, write_json, writing
from dar.pipeline import DARPipeline
from dar.progress import progress_bar, say
from dar.samples.archive import write_header, write_samples
from dar.samples.opening import open_samples
from dar.samples.samples import Samples
from dar.samples.sampling import SampleSettings, identity, sample_chunk

SETTINGS = "settings.json"
POLL_SECONDS = 0.5
PATIENCE_SECONDS, PATIENCE_CHUNKS = 60.0, 10
"""Process 0 takes over when no chunk has come for so many seconds, and for so many times its own slowest chunk's."""


def sample(
    pipe: DARPipeline,
    settings: SampleSettings,
    out: Path,
    *,
    described: dict[str, Any] | None = None,
    process: int = 0,
    processes: int = 1,
    patience: float = PATIENCE_SECONDS,
) -> bool:
    """Compute one process's chunks; in process 0, also wait for the others' and join all into ``out``.

    Whatever is there of an earlier run with the same settings is kept. Beside ``out`` lies then a ``.json`` of the same
    name that describes how it was made; the folder of chunks is removed. While chunks are joined, they are on the disk
    twice.

    Args:
        pipe: the model.
        settings: what to sample.
        out: the ``.npz`` to write.
        described: further entries of the record, as JSON values, such as where the model came from.
        process: which process this is.
        processes: how many share the work.
        patience: seconds without a new chunk after which process 0 takes over the others'.

    Returns:
        Whether ``out`` is complete; if not, process 0 will complete it.

    Raises:
        DARError: if the settings do not fit the model, ``out`` or its chunks were made with other settings, or cannot
            be written.
    """
    if out.suffix != ".npz":
        raise DARError(f"samples are written as an .npz file, not {out.name!r}: choose another name")
    pipe.check([settings.label(index) for index in settings.indices(0)], **settings.stream_keywords(0))
    job = _Job(pipe, settings, out, described or {}, process, processes)
    job.check()
    if not job.is_complete():
        job.run(patience)
    return job.is_complete()


def is_recorded(samples: Samples, record: dict[str, Any]) -> bool:
    """Check whether a record belongs to these samples."""
    made = record.get("file")
    return isinstance(made, dict) and made.get("sha256") == samples.hash


class _Job:
    """A set of samples in the making, and one process's part in it."""

    def __init__(
        self,
        pipe: DARPipeline,
        settings: SampleSettings,
        out: Path,
        described: dict[str, Any],
        process: int,
        processes: int,
    ) -> None:
        self.pipe, self.settings, self.out, self.described = pipe, settings, out, described
        self.process, self.processes = process, processes
        self.identity = identity(pipe, settings)
        self.record = out.with_suffix(".json")
        self.parts = out.with_name(f"{out.name}.parts")

    def check(self) -> None:
        """Make sure that samples which are there already are the wanted ones."""
        if self.record.exists():
            record = read_json(self.record)
            self._compare(self.record, record.get("settings"))
            if self.out.exists() and not is_recorded(open_samples(self.out), record):
                raise DARError(f"{self.out} is not the file that {self.record.name} tells of: choose another name")
        elif self.out.exists():
            raise DARError(f"{self.out} exists already, and no {self.record.name} tells of what: choose another name")

    def is_complete(self) -> bool:
        """Check whether the samples are there; chunks that are left of them are then removed."""
        if self.out.exists():
            shutil.rmtree(self.parts, ignore_errors=True)
        return self.out.exists()

    def run(self, patience: float) -> None:
        """Compute what is missing; in process 0, join all."""
        self._begin()
        started, missing = time.monotonic(), self._missing()
        left = sum(len(self.settings.indices(chunk)) for chunk in missing)
        done, is_first = self.settings.num - left, self.process == 0
        with progress_bar(self.settings.num, desc="sampling", initial=done, smoothing=0.05, shown=is_first) as bar:
            slowest, shown = 0.0, started
            for chunk in missing:
                own = chunk % self.processes == self.process
                if own and not self._chunk(chunk).exists() and not self.out.exists():
                    before = time.monotonic()
                    self._compute(chunk)
                    slowest = max(slowest, time.monotonic() - before)
                    if self.process == 0 and time.monotonic() - shown > POLL_SECONDS:
                        self._show(bar)
                        shown = time.monotonic()
            if self.process != 0:
                return
            self._take_over_missing_chunks(bar, max(patience, PATIENCE_CHUNKS * slowest))
        seconds = time.monotonic() - started
        self._join({"seconds": seconds, "images_per_second": left / seconds if left else None})

    def _begin(self) -> None:
        """Make the folder of chunks, or find it begun with the same settings."""
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
            there = {path.name for path in self.parts.iterdir() if not path.name.startswith(".")}
        except OSError as error:
            raise DARError(f"cannot write to {self.parts} ({error.strerror}): choose another place") from error
        path = self.parts / SETTINGS
        if SETTINGS not in there:
            if there and not path.exists():  # another process may just have written it
                raise DARError(f"{self.parts} holds other files, such as {min(there)}: choose another name")
            write_json(path, self.identity)
        self._compare(path, read_json(path))

    def _compare(self, path: Path, found: Any) -> None:
        """Make sure that what was begun or done has the settings that are wanted now."""
        if not isinstance(found, dict):
            raise DARError(f"{path} does not tell how samples were made: choose another name")
        found = {"dtype": FLOAT32, **found}  # versions that knew no other did not tell it
        names = sorted(
            name for name in found.keys() | self.identity.keys() if found.get(name) != self.identity.get(name)
        )
        if names:
            changes = "; ".join(
                f"{name} was {quoted(found.get(name))}, now {quoted(self.identity.get(name))}" for name in names
            )
            raise DARError(
                f"{path} tells of other samples ({changes}): go on as they were begun, or choose another name"
            )

    def _chunk(self, chunk: int) -> Path:
        return self.parts / f"chunk-{chunk:06d}.npy"

    def _missing(self) -> list[int]:
        there = {path.name for path in self.parts.iterdir()} if self.parts.exists() else set()
        return [chunk for chunk in range(self.settings.chunks) if self._chunk(chunk).name not in there]

    def _compute(self, chunk: int) -> None:
        images = sample_chunk(self.pipe, self.settings, self.settings.indices(chunk))
        with writing(self._chunk(chunk)) as aside, aside.open("wb") as file:
            write_header(file, images.shape, images.dtype)
            file.write(images.data)

    def _show(self, bar: "tqdm[Any]") -> None:
        """Let the bar count the finished chunks of all processes."""
        left = sum(len(self.settings.indices(chunk)) for chunk in self._missing())
        bar.update(self.settings.num - left - bar.n)

    def _take_over_missing_chunks(self, bar: "tqdm[Any]", patience: float) -> None:
        """Wait for chunks of other processes; compute them here once none has come for ``patience`` seconds."""
        quiet_since, before = time.monotonic(), self._missing()
        if before:
            say(f"waiting for {self._named(before)}", error=True)
        taken_over = False
        self._show(bar)
        while (missing := self._missing()) and not self.out.exists():
            if len(missing) < len(before):
                quiet_since = time.monotonic()
            quiet = time.monotonic() - quiet_since
            if quiet < patience:
                bar.set_postfix_str(f"waiting for {self._named(missing)}, {quiet:.0f} s quiet")
                time.sleep(min(POLL_SECONDS, patience))
            else:
                if not taken_over:
                    say(f"doing {self._named(missing, 'silent ')}", error=True)
                    taken_over = True
                self._compute(missing.pop())  # the one that its own process would come to last
            before = missing
            self._show(bar)

    def _named(self, chunks: Sequence[int], kind: str = "") -> str:
        """Describe chunks and whose they are, in words."""
        owners = sorted({chunk % self.processes for chunk in chunks})
        return f"{len(chunks)} chunks of {kind}processes {', '.join(map(str, owners))}"

    def _join(self, timing: dict[str, Any]) -> None:
        """Write the samples and their record. The record comes first: samples without it would be of unknown origin."""
        size = self.pipe.tokenizer.config.image_size
        labels = np.array([self.settings.label(index) for index in range(self.settings.num)])
        joined = self.parts / "joined.npz"  # in here, so that nothing stays in the way if this is killed
        try:
            write_samples(joined, self._pieces(size), (self.settings.num, size, size, 3), labels)
            made = {"sha256": open_samples(joined).hash, "bytes": joined.stat().st_size}
            write_json(
                self.record, {"settings": self.identity, **self.described, "file": made, **timing, **run_record()}
            )
            joined.replace(self.out)
        except FileNotFoundError:  # another process 0 was faster, and has removed the chunks
            if not self.out.exists():
                raise

    def _pieces(self, size: int) -> Iterator[NDArray[np.uint8]]:
        for chunk in range(self.settings.chunks):
            path, shape = self._chunk(chunk), (len(self.settings.indices(chunk)), size, size, 3)
            with path.open("rb") as file:
                try:
                    images = np.lib.format.read_array(file, allow_pickle=False)
                except ValueError as error:
                    raise DARError(f"{path} is damaged ({error}): remove it, and run the same command again") from error
            if images.shape != shape or images.dtype != np.uint8:
                raise DARError(f"{path} does not hold these samples: remove it, and run the same command again")
            yield images
