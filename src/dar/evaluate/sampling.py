"""Sampling for evaluation: many images, each a function of the model, the settings, a seed and its index alone.

The unit of work is a chunk of consecutive indices, always computed as one batch, since another batch shape rounds
differently. A finished chunk is a file in ``samples.npz.parts/``; so any number of processes may share the work, and be
killed and started again, and the samples are the same bytes. Process p computes the chunks of index p modulo their
number. Process 0 then waits for the others' chunks, computes those that nobody seems to be at, and joins all of them.
"""

import hashlib
import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from dar.environment import run_record, versions
from dar.errors import DARError, quoted
from dar.evaluate.sample_file import open_samples, write_header, write_samples
from dar.images import check_finite
from dar.pipeline import DARPipeline, Settings
from dar.randomness import image_seeds
from dar.storage import read_json, weights_hash, write_json, writing
from dar.tokenizer.model import DEFAULT_SOLVER

CHUNK = 50
ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "adm": lambda pixels: (pixels + 1) * 127.5,
    "dit": lambda pixels: 127.5 * pixels + 128,
}
"""From [-1, 1] to levels whose fraction is then dropped: as ADM's sampler does it, and DiT's and LlamaGen's."""

LABELLINGS = ("random", "balanced")
SETTINGS = "settings.json"
POLL_SECONDS = 0.5
PATIENCE_SECONDS, PATIENCE_CHUNKS = 60.0, 10
"""Process 0 takes over when no chunk has come for so many seconds, and for so many times its own slowest chunk's."""


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """What to sample, and how.

    Attributes:
        num: images.
        labels: "random" draws the label of image i from a generator seeded by ``seed`` and i; "balanced" gives image i
            the class i modulo their number.
        classes: indices of the classes to sample, increasing.
        seed: image i uses seed + i, so that sets whose seeds differ by ``num`` or more share no image.
        chunk: images computed as one batch.
        rounding: "adm" drops the fraction of 127.5 (x + 1), "dit" that of 127.5 x + 128; both are cut to 0 to 255.
        guidance_scale: at the first and the last token, see ``DARPipeline.stream``, as for all that follow.
        steps: denoising steps.
        solver: "adams-bashforth-2" or "euler".
        temperature: divides the logits.
        top_k: draw among the k likeliest tokens only.
        top_p: draw among the fewest likeliest tokens whose probabilities reach p.

    Raises:
        DARError: at construction, if the number, the labels, the chunk or the rounding cannot be.
    """

    num: int
    labels: str = "random"
    classes: tuple[int, ...]
    seed: int = 0
    chunk: int = CHUNK
    rounding: str = "adm"
    guidance_scale: tuple[float, float] = (1.0, 3.0)
    steps: int
    solver: str = DEFAULT_SOLVER
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.num < 1 or self.chunk < 1:
            raise DARError(f"at least 1 image is needed, in chunks of at least 1, not {self.num} and {self.chunk}")
        if self.rounding not in ROUNDINGS:
            raise DARError(f"there is no rounding {self.rounding!r}: choose one of {', '.join(ROUNDINGS)}")
        if self.labels not in LABELLINGS:
            raise DARError(f"labels cannot be {self.labels!r}: choose one of {', '.join(LABELLINGS)}")
        count = len(self.classes)
        if not count or list(self.classes) != sorted(set(self.classes)):
            raise DARError("the classes to sample must be increasing indices, at least one")
        if self.labels == "balanced" and self.num % count:
            nearest = max(1, round(self.num / count)) * count
            raise DARError(
                f"{self.num} images cannot be balanced over {count} classes: sample {nearest}, or use random labels"
            )
        image_seeds([self.seed, self.seed + self.num - 1], 2)

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.num // self.chunk)

    def indices(self, chunk: int) -> range:
        """Indices of a chunk's images."""
        return range(chunk * self.chunk, min(self.num, (chunk + 1) * self.chunk))

    def label(self, index: int) -> int:
        """Class index of an image."""
        if self.labels == "balanced":
            return self.classes[index % len(self.classes)]
        return self.classes[random.Random(f"{self.seed}/label {index}").getrandbits(63) % len(self.classes)]

    def of_stream(self, first: int) -> Settings:
        """Arguments of ``DARPipeline.stream`` for a batch that starts with the image of index ``first``."""
        return {
            "seed": self.seed + first,
            "guidance_scale": self.guidance_scale,
            "steps": self.steps,
            "solver": self.solver,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
        }


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
    name that tells how it was made; the folder of chunks is removed. While chunks are joined, they are on the disk
    twice.

    Args:
        pipe: the model.
        settings: what to sample.
        out: the ``.npz`` to write.
        described: what else the record is to tell, as JSON values, such as where the model came from.
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
    pipe.stream([settings.label(0)], **settings.of_stream(0))  # checks all settings at the call
    job = _Job(pipe, settings, out, described or {}, process, processes)
    if not job.is_complete():
        job.run(patience)
    return job.is_complete()


def rounded(pixels_B3HW: Tensor, rounding: str) -> Tensor:
    """Images in [-1, 1] -> B x H x W x 3, uint8, on the CPU; see ``SampleSettings.rounding``."""
    return ROUNDINGS[rounding](pixels_B3HW.float()).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu()


def sample_chunk(pipe: DARPipeline, settings: SampleSettings, indices: range) -> NDArray[np.uint8]:
    """Images of consecutive indices, as one batch: B x H x W x 3."""
    labels = [settings.label(index) for index in indices]
    for preview in pipe.stream(labels, **settings.of_stream(indices.start)):
        pixels = preview.pixels
    check_finite(pixels)
    return rounded(pixels, settings.rounding).numpy()


class _Job:
    """One process's view of a set of samples in the making."""

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

    def is_complete(self) -> bool:
        """Whether the samples are there; chunks that are left of them are then removed."""
        if self.record.exists():
            record = read_json(self.record)
            self._compare(self.record, record.get("settings"))
            if self.out.exists() and not is_recorded(self.out, record):
                raise DARError(f"{self.out} is not the file that {self.record.name} tells of: choose another name")
        elif self.out.exists():
            raise DARError(f"{self.out} exists already, and no {self.record.name} tells of what: choose another name")
        if self.out.exists():
            shutil.rmtree(self.parts, ignore_errors=True)
        return self.out.exists()

    def run(self, patience: float) -> None:
        """Compute what is missing; in process 0, join all."""
        self._begin()
        started, missing = time.monotonic(), self._missing()
        left = sum(len(self.settings.indices(chunk)) for chunk in missing)
        with tqdm(
            total=self.settings.num,
            initial=self.settings.num - left,
            desc="sampling",
            unit="image",
            dynamic_ncols=True,
            smoothing=0.05,
            disable=self.process != 0,
        ) as bar:
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
            self._see_to_others(bar, max(patience, PATIENCE_CHUNKS * slowest))
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
        """Make sure that what was begun or done is what is wanted now."""
        if not isinstance(found, dict):
            raise DARError(f"{path} does not tell how samples were made: choose another name")
        names = sorted(
            name for name in found.keys() | self.identity.keys() if found.get(name) != self.identity.get(name)
        )
        if names:
            told = "; ".join(
                f"{name} was {quoted(found.get(name))}, now {quoted(self.identity.get(name))}" for name in names
            )
            raise DARError(f"{path} tells of other samples ({told}): go on as they were begun, or choose another name")

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

    def _see_to_others(self, bar: "tqdm[Any]", patience: float) -> None:
        """Wait for chunks of other processes; compute them here once none has come for ``patience`` seconds."""
        quiet_since, before = time.monotonic(), self._missing()
        self._show(bar)
        while (missing := self._missing()) and not self.out.exists():
            if len(missing) < len(before):
                quiet_since = time.monotonic()
            quiet = time.monotonic() - quiet_since
            missing_of = ", ".join(map(str, sorted({chunk % self.processes for chunk in missing})))
            if quiet < patience:
                bar.set_postfix_str(f"waiting for {len(missing)} chunks of processes {missing_of}, {quiet:.0f} s quiet")
                time.sleep(min(POLL_SECONDS, patience))
            else:
                bar.set_postfix_str(f"doing {len(missing)} chunks of silent processes {missing_of}")
                self._compute(missing.pop())  # the one that its own process would come to last
            before = missing
            self._show(bar)

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


def is_recorded(path: Path, record: dict[str, Any]) -> bool:
    """Whether a record is of this very file of samples."""
    made = record.get("file")
    return isinstance(made, dict) and made.get("sha256") == open_samples(path).hash


def identity(pipe: DARPipeline, settings: SampleSettings) -> dict[str, Any]:
    """All that the samples depend on, as JSON values."""
    configs = json.dumps([asdict(pipe.tokenizer.config), asdict(pipe.prior.config)], sort_keys=True)
    installed = versions()
    found: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return found | {
        "tokenizer": weights_hash(pipe.tokenizer),
        "prior": weights_hash(pipe.prior),
        "config": hashlib.sha256(configs.encode()).hexdigest(),
        "device": pipe.tokenizer.device.type,
        "dar": installed["dar"],
        "torch": installed["torch"],
    }
