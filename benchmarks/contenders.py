"""Who is judged by ``benchmarks.quality``: trained D-AR models, small ones of its own making, and baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from benchmarks.baselines.pixel_flow import PixelFlow, PixelFlowTask
from benchmarks.baselines.raster import RasterPriorTask, RasterTask, RasterTokenizer, raster_samples, raster_tokens
from benchmarks.judging import BATCH, reconstructed
from dar import DARPipeline
from dar.data import ImageDataset
from dar.data.in_memory import DecodedImages, decode_images
from dar.errors import DARError
from dar.images import from_uint8, to_uint8
from dar.prior import Prior
from dar.storage import WEIGHTS, load_weights
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.train.distributed import Distributed
from dar.train.launch import Launch
from dar.train.loop import Outcome
from dar.train.prior import train_prior
from dar.train.recipe import Recipe, TrainingRecipe, load_recipe
from dar.train.run_folder import RunFolder
from dar.train.task import Task
from dar.train.tokenizer import train_tokenizer

Training = TypeVar("Training", bound=TrainingRecipe)

RECIPE = Path(__file__).with_name("quality.yaml")

SHOWN = 500
"""Held-out images whose error the baselines' logs tell."""

RAMPS: Mapping[str, tuple[float, float]] = {
    "1": (1.0, 1.0),
    "1.5": (1.5, 1.5),
    "1:2": (1.0, 2.0),
    "1:3": (1.0, 3.0),
    "1:4": (1.0, 4.0),
    "1:6": (1.0, 6.0),
    "3": (3.0, 3.0),
}
"""Guidance scales of autoregressive models, at the first and the last token."""

SWEEP: Mapping[str, Mapping[str, Any]] = {
    "1:3, temperature 0.9": {"temperature": 0.9},
    "1:3, top-p 0.95": {"top_p": 0.95},
    "1:3, top-k 256": {"top_k": 256},
    "1:3, Adams-Bashforth": {"solver": "adams-bashforth-2"},
    "1:3, 22 steps": {"steps": 22},
}
"""What else a D-AR may be asked to sample with, at guidance 1:3; only where it is asked for."""

SCALES: Mapping[str, float] = {"1": 1.0, "1.5": 1.5, "2": 2.0, "3": 3.0}
"""Guidance scales of the flow."""

VARIANTS: Mapping[str, tuple[str, ...]] = {
    "d-ar": (),
    "late-steps": ("tokenizer.time_shift=1.25", "tokenizer.final_steps=4", "tokenizer.num_steps=11"),
    "published-clock": ("tokenizer.time_shift=2.0",),
    "no-guide": ("tokenizer_training.perceptual_weight=0.0",),
    "still-guide": ("tokenizer_training.perceptual_shift=0", "tokenizer_training.perceptual_timed=false"),
    "own-group": ("tokenizer.decoder_context=group",),
    "own-states": ("tokenizer_training.own_state_share=0.125", "tokenizer_training.own_state_start=1000"),
    "adversarial": (
        "tokenizer_training.adversarial_weight=0.1",
        "tokenizer_training.adversarial_start=1400",
        "tokenizer_training.adversarial_halvings=1",
    ),
    "muon": ("tokenizer_training.optimizer=muon",),
}
"""What each small D-AR changes in the recipe."""

WITH_PRIOR = ("d-ar",)
"""Of which small D-ARs a prior is trained too; the others are judged by their reconstructions."""

FLOWS: Mapping[str, tuple[str, ...]] = {"pixel-flow": (), "pixel-flow-no-guide": VARIANTS["no-guide"]}
FLOW_SIZE = ("tokenizer.decoder_width=128", "tokenizer.decoder_depth=4")
"""So that the flow alone has about as many parameters as tokenizer and prior together."""

TIMED = {"steps", "decay_steps", "own_state_start", "adversarial_start"}
"""Settings of a training that count steps of it; warm-up and the continuous phase last as long in any."""

NAMES = (*VARIANTS, "raster", *FLOWS)


class Contender(Protocol):
    """What the judge asks of a model.

    Attributes:
        parameters: how many it has.
        seconds: of training on this machine; None for one that was trained elsewhere.
        images_seen: in all its trainings together; None if not known.
        guidances: names of the settings at which it samples unless others are asked for.
    """

    parameters: int
    seconds: float | None
    images_seen: int | None
    guidances: Sequence[str]

    def knows(self, guidance: str) -> bool:
        """Whether it can sample with what has this name."""

    def stages(self, images: Tensor) -> Tensor | None:
        """Reconstructions of M uint8 images after each group: K x M x 3 x H x W uint8; None if it makes none."""

    def samples(self, labels: Tensor, guidance: str, seed: int) -> Tensor:
        """Samples of B classes, image i from ``seed`` + i: B x 3 x H x W uint8."""


@dataclass
class DAR:
    """A D-AR model, with or without a prior.

    Attributes:
        tokenizer: of the model.
        pipe: None while there is no prior.
        solver: None means the model's own.
    """

    tokenizer: SequentialDiffusionTokenizer
    pipe: DARPipeline | None
    solver: str
    seconds: float | None = None
    images_seen: int | None = None

    @property
    def parameters(self) -> int:
        """Of tokenizer and prior."""
        return _count(self.tokenizer) + (_count(self.pipe.prior) if self.pipe else 0)

    @property
    def guidances(self) -> Sequence[str]:
        """All ramps, where there is a prior."""
        return tuple(RAMPS) if self.pipe else ()

    def knows(self, guidance: str) -> bool:
        """Those, and what is in ``SWEEP``."""
        return self.pipe is not None and guidance in {**RAMPS, **SWEEP}

    def stages(self, images: Tensor) -> Tensor | None:
        """See ``Contender``."""
        return reconstructed(self.tokenizer, images, self.solver, "reconstructing")[0]

    def samples(self, labels: Tensor, guidance: str, seed: int) -> Tensor:
        """See ``Contender``."""
        assert self.pipe is not None
        options: dict[str, Any] = {"temperature": 1.0, "solver": self.solver}
        options |= {"guidance_scale": RAMPS[guidance.split(",")[0]], **SWEEP.get(guidance, {})}
        *_, last = self.pipe.stream(labels.tolist(), seed=seed, **options)
        return to_uint8(last.pixels).cpu()


@dataclass
class Raster:
    """The raster autoregressive model."""

    tokenizer: RasterTokenizer
    prior: Prior
    seconds: float | None = None
    images_seen: int | None = None

    @property
    def parameters(self) -> int:
        """Of tokenizer and prior."""
        return _count(self.tokenizer) + _count(self.prior)

    @property
    def guidances(self) -> Sequence[str]:
        """All of ``RAMPS``."""
        return tuple(RAMPS)

    def knows(self, guidance: str) -> bool:
        """Those."""
        return guidance in RAMPS

    @torch.no_grad()
    def stages(self, images: Tensor) -> Tensor | None:
        """See ``Contender``; there is one stage only."""
        tokenizer = self.tokenizer
        parts = [to_uint8(tokenizer.decode(tokenizer.encode(from_uint8(part)))) for part in images.split(BATCH)]
        return torch.cat(parts)[None]

    def samples(self, labels: Tensor, guidance: str, seed: int) -> Tensor:
        """See ``Contender``."""
        return raster_samples(self.tokenizer, self.prior, labels, RAMPS[guidance], seed)


@dataclass
class Flow:
    """The flow on pixels."""

    model: PixelFlow
    seconds: float | None = None
    images_seen: int | None = None

    @property
    def parameters(self) -> int:
        """Of the network."""
        return _count(self.model)

    @property
    def guidances(self) -> Sequence[str]:
        """All of ``SCALES``."""
        return tuple(SCALES)

    def knows(self, guidance: str) -> bool:
        """Those."""
        return guidance in SCALES

    def stages(self, images: Tensor) -> Tensor | None:
        """None: it has no tokens."""
        return None

    def samples(self, labels: Tensor, guidance: str, seed: int) -> Tensor:
        """See ``Contender``."""
        return self.model.samples(labels, SCALES[guidance], seed)


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def trained_elsewhere(name: str) -> DAR:
    """A model that is there: a folder, or a name that ``DARPipeline.from_pretrained`` knows."""
    pipe = DARPipeline.from_pretrained(name)
    return DAR(pipe.tokenizer, pipe, pipe.settings.solver)


@dataclass(frozen=True)
class Workshop:
    """Where contenders are trained; what is finished there is taken as it is, what was interrupted goes on.

    Attributes:
        data: folder with train.parquet and test.parquet.
        out: one folder a contender.
        times: how often the recipe's steps are taken; what begins or decays after some of them moves with them.
    """

    data: Path
    out: Path
    times: int = 1

    @cached_property
    def images(self) -> ImageDataset:
        """What is trained on."""
        return ImageDataset(self.data / "train.parquet", "train")

    @cached_property
    def train(self) -> DecodedImages:
        """The same in memory."""
        return decode_images(self.images, self.recipe().tokenizer.image_size, 0)

    @cached_property
    def test(self) -> DecodedImages:
        """Held-out images in memory."""
        return decode_images(ImageDataset(self.data / "test.parquet", "test"), self.recipe().tokenizer.image_size, 0)

    def contender(self, name: str) -> Contender:
        """Train what is missing of one of ``NAMES``.

        Raises:
            DARError: if there is none of that name, or its training was interrupted.
        """
        if name in VARIANTS:
            return self._dar(name)
        if name == "raster":
            return self._raster()
        if name in FLOWS:
            return self._flow(name)
        raise DARError(f"there is no contender {name!r}: choose among {', '.join(NAMES)}")

    def recipe(self, overrides: Sequence[str] = ()) -> Recipe:
        """The bench's recipe for so many times its steps."""
        recipe = load_recipe(RECIPE, overrides)
        tokenizer, prior = _longer(recipe.tokenizer_training, self.times), _longer(recipe.prior_training, self.times)
        return replace(recipe, tokenizer_training=tokenizer, prior_training=prior)

    def _dar(self, name: str) -> DAR:
        recipe, runs = self.recipe(VARIANTS[name]), [RunFolder(self.out / name / "tokenizer")]
        train, test = self.data / "train.parquet", self.data / "test.parquet"
        self._finish(runs[0], partial(train_tokenizer, recipe, train, runs[0].path, validation=test))
        if name not in WITH_PRIOR:
            return DAR(SequentialDiffusionTokenizer.from_pretrained(runs[0].model), None, "euler", *_spent(runs))
        runs.append(RunFolder(self.out / name / "prior"))
        self._finish(runs[1], partial(train_prior, recipe, train, runs[0].model, runs[1].path, validation=test))
        pipe = DARPipeline.from_pretrained(runs[1].model)
        return DAR(pipe.tokenizer, pipe, "euler", *_spent(runs))

    def _raster(self) -> Raster:
        recipe, runs = self.recipe(), [RunFolder(self.out / "raster" / part) for part in ("tokenizer", "prior")]
        tokenizer = RasterTokenizer(recipe.tokenizer).eval()
        if not runs[0].model.is_dir():
            self._fit(runs[0], recipe, RasterTask(recipe, self.train, self.test.images[:SHOWN], Distributed()))
        load_weights(tokenizer, runs[0].model / WEIGHTS)
        if not runs[1].model.is_dir():
            torch.manual_seed(recipe.prior_training.seed)
            prior = Prior(recipe.prior_config(self.images.class_names))
            training = raster_tokens(tokenizer, self.train, flip=recipe.data.flip)
            held_out = raster_tokens(tokenizer, self.test, flip=False)
            self._fit(runs[1], recipe, RasterPriorTask(recipe, tokenizer, prior, training, held_out))
        return Raster(tokenizer, Prior.from_pretrained(runs[1].model).eval(), *_spent(runs))

    def _flow(self, name: str) -> Flow:
        run, recipe = RunFolder(self.out / name / "flow"), self.recipe([*FLOW_SIZE, *FLOWS[name]])
        first, second = recipe.tokenizer_training, recipe.prior_training
        steps = first.steps + second.steps * second.batch_size // first.batch_size
        recipe = replace(recipe, tokenizer_training=replace(first, steps=steps, decay_steps=steps // 2))
        classes = len(self.images.class_names)
        if not run.model.is_dir():
            self._fit(run, recipe, PixelFlowTask(recipe, self.train, classes, Distributed()))
        model = PixelFlow(recipe.tokenizer, classes).eval()
        load_weights(model, run.model / WEIGHTS)
        return Flow(model, *_spent([run]))

    def _fit(self, run: RunFolder, recipe: Recipe, task: Task) -> None:
        settings = recipe.prior_training if isinstance(task, RasterPriorTask) else recipe.tokenizer_training

        def train(*, resume: bool) -> Outcome:
            launch = Launch(run.path, settings, resume=resume)
            launch.announce(data=self.images.summary)
            with launch.begun(recipe, self.images.fingerprint):
                return launch.fit(task)

        self._finish(run, train)

    def _finish(self, run: RunFolder, train: Any) -> None:
        if not run.model.is_dir() and train(resume=run.recipe.is_file()) is not Outcome.FINISHED:
            raise DARError(f"the training in {run.path} was interrupted: the same command goes on with it")


def _longer(settings: Training, times: int) -> Training:
    """The same with whatever counts its steps multiplied."""
    counted = TIMED & {field.name for field in fields(settings)}
    return replace(settings, **{name: times * getattr(settings, name) for name in counted})


def _spent(runs: Sequence[RunFolder]) -> tuple[float, int]:
    """Seconds, and images seen, of some trainings together."""
    last = [[entry for entry in run.read_log() if "seconds" in entry][-1] for run in runs]
    return sum(entry["seconds"] for entry in last), sum(entry["images"] for entry in last)
