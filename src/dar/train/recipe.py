"""Recipes: every size and setting of a training, read from YAML and checked before anything is spent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from dar.fields import (
    MOST_WORKERS,
    check_types,
    lists_to_tuples,
    require_at_least,
    require_at_most,
    require_names,
    require_one_of,
    require_positive,
    require_share,
    require_share_below_1,
)
from dar.prior.config import PRIOR_SIZES, PriorConfig
from dar.tokenizer.config import TOKENIZER_SIZES, TokenizerConfig
from dar.train.recipe_files import all_names, build, read_recipe, section_of

OF_CLASSIFIERS = "classifier-"
"""Begins the names of the package's recipes of classifiers; all others are of models."""


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """Settings of how images are read.

    Attributes:
        crop: "centre", or "random" for a random square of the image scaled to fit.
        flip: whether to mirror half of the images.
        workers: processes that decode ahead; 0 decodes in the training process.
        max_broken_share: share of the images that may be unreadable before a run stops; a handful always may.
        in_memory: whether the tokenizer's training decodes all images before its first step and keeps them, which needs
            the centre crop; else each process that decodes keeps as many as fit into 64 MiB.
        streaming: whether the tokenizer's training reads images as they go by, for data that does not fit the disk.
        shuffle_buffer: when streaming, undecoded images in memory to draw the next one from.
        image_column: the column of images, or their ending in tars; empty finds it.
        label_column: the column of labels, or their ending in tars; empty finds it.
    """

    crop: str = "centre"
    flip: bool = True
    workers: int = 0
    max_broken_share: float = 0.01
    in_memory: bool = False
    streaming: bool = False
    shuffle_buffer: int = 1000
    image_column: str = ""
    label_column: str = ""

    def __post_init__(self) -> None:
        check_types(self)
        require_one_of(self, "crop", "centre", "random")
        if self.in_memory and (self.streaming or self.crop != "centre"):
            raise ValueError("in_memory goes with the centre crop and without streaming: leave one of them out")
        require_at_least(self, 0, "workers")
        require_at_most(self, MOST_WORKERS, "workers")
        require_at_least(self, 1, "shuffle_buffer")
        require_share(self, "max_broken_share")


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """Settings that all trainings have in common.

    Attributes:
        steps: optimiser steps.
        batch_size: images a step, over all processes.
        learning_rate: reached after warm-up.
        warmup_steps: steps of linear rise from 0.
        decay_steps: last steps, of linear fall to ``final_learning_rate``.
        final_learning_rate: at the last step.
        optimizer: "adamw", or "muon" for Muon on the matrices inside the blocks and AdamW on the rest.
        betas: AdamW's.
        weight_decay: on matrices only.
        gradient_clip: largest gradient norm.
        ema_decay: of the running average of weights; early steps average over fewer.
        precision: "bf16" (autocast), "fp32", or "auto": bf16 where the hardware has it.
        compile: whether to compile the model with torch.compile, which takes a minute and then saves time.
        seed: of initial weights, data order, augmentation, and every draw of training.
        gradient_accumulation: passes that each process makes of its part of a batch, to fit it into memory.
        recompute_activations: whether to trade a third more computing for the memory of activations.
        checkpoint_minutes: time between checkpoints.
        keep_checkpoints: how many of the newest to keep.
        keep_every_steps: of which steps to keep checkpoints for good; 0 for none.
        sample_steps: steps between sample pictures.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 100
    decay_steps: int = 0
    final_learning_rate: float = 0.0
    optimizer: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    precision: str = "auto"
    compile: bool = False
    seed: int = 0
    gradient_accumulation: int = 1
    recompute_activations: bool = False
    checkpoint_minutes: float = 5.0
    keep_checkpoints: int = 2
    keep_every_steps: int = 0
    sample_steps: int = 1000

    def __post_init__(self) -> None:
        lists_to_tuples(self)
        check_types(self)
        require_at_least(self, 1, "steps", "batch_size", "sample_steps", "gradient_accumulation", "keep_checkpoints")
        require_at_least(
            self, 0, "keep_every_steps", "warmup_steps", "decay_steps", "weight_decay", "final_learning_rate"
        )
        if self.warmup_steps + self.decay_steps > self.steps:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} and decay_steps {self.decay_steps} do not fit into "
                f"{self.steps} steps: lower them too"
            )
        require_positive(self, "learning_rate", "gradient_clip", "checkpoint_minutes")
        require_share_below_1(self, "ema_decay")
        require_one_of(self, "optimizer", "adamw", "muon")
        require_one_of(self, "precision", "auto", "bf16", "fp32")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers in 0 to 1, 1 excluded, not {self.betas!r}")

    def learning_rate_at(self, step: int) -> float:
        """Compute the learning rate of step 0, 1, ...: linear warm-up, constant, linear decay."""
        rate = self.learning_rate * min(1.0, (step + 1) / max(self.warmup_steps, 1))
        if self.decay_steps and step >= self.steps - self.decay_steps:
            left = (self.steps - step) / self.decay_steps
            rate = min(rate, self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * left)
        return rate


@dataclass(frozen=True, kw_only=True)
class TokenizerTraining(TrainingRecipe):
    """Settings of the tokenizer's training.

    Attributes:
        continuous_steps: first steps, during which features pass unquantised; the codebook is then fitted to them.
        reseed_steps: steps between re-seedings of the codes that were not used since the last one; 0 for none.
        pixel_weight: weight of the predicted image's squared error; the published recipe has none.
        perceptual_weight: weight of the predicted image's distance from the true one, as networks see them.
        perceptual_network: which networks; the mean of their distances counts. "lpips", "classifier:cifar10" for the
            classifier that the package brings along, or a folder or Hub id of a trained one.
        perceptual_weights: folder with LPIPS's weights, see ``dar.features.perceptual``; empty to download them.
        perceptual_shift: by up to so many pixels both images are moved alike before the networks look: strided
            convolutions else leave their grid in the images.
        perceptual_timed: whether the distance counts in proportion to the time of the path, more near the image.
        alignment_weight: weight of the loss that aligns the decoder's patch tokens with DINOv2's.
        alignment_layer: which patch tokens: those before this block of the diffusion decoder, counted from 0.
        alignment_model: DINOv2, as a folder or an id on the Hub.
        adversarial_weight: weight of the discriminator's say on the predicted image; the published recipe has none.
        adversarial_start: step from which on it has a say.
        adversarial_halvings: how often the discriminator halves an image: 1, 2 or 3, for patches of 12, 26 or 54
            pixels.
        own_state_share: share of each batch taken from where the sampler gets by its own steps; the published recipe
            has none. Such images count in the losses on the predicted image only.
        own_state_start: step from which on they are, after the ``continuous_steps``, which know no tokens.
        train: "all", or "decoder" to leave encoder and codebook as they are, so that tokens stay what they mean.
    """

    continuous_steps: int = 0
    reseed_steps: int = 50
    pixel_weight: float = 0.0
    perceptual_weight: float = 0.0
    perceptual_network: tuple[str, ...] = ("lpips",)
    perceptual_weights: str = ""
    perceptual_shift: int = 0
    perceptual_timed: bool = False
    alignment_weight: float = 0.0
    alignment_layer: int = 8
    alignment_model: str = "facebook/dinov2-base"
    adversarial_weight: float = 0.0
    adversarial_start: int = 0
    adversarial_halvings: int = 3
    own_state_share: float = 0.0
    own_state_start: int = 0
    train: str = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 0, "continuous_steps", "reseed_steps", "alignment_layer", "adversarial_start")
        require_at_least(self, 0, "perceptual_shift", "own_state_start")
        if isinstance(self.perceptual_network, str):
            object.__setattr__(self, "perceptual_network", (self.perceptual_network,))
        require_names(self, "perceptual_network", 1)
        require_at_least(self, 0, "pixel_weight", "perceptual_weight", "alignment_weight", "adversarial_weight")
        require_one_of(self, "adversarial_halvings", 1, 2, 3)
        require_one_of(self, "train", "all", "decoder")
        self._check_own_states()
        if self.continuous_steps >= self.steps:
            raise ValueError(f"continuous_steps {self.continuous_steps} must be fewer than the {self.steps} steps")

    def _check_own_states(self) -> None:
        require_share_below_1(self, "own_state_share")
        if self.own_state_share and not (self.pixel_weight or self.perceptual_weight or self.adversarial_weight):
            raise ValueError("own_state_share needs a loss on the predicted image, such as pixel_weight: 0.5")


@dataclass(frozen=True, kw_only=True)
class PriorTraining(TrainingRecipe):
    """Settings of the prior's training.

    Attributes:
        label_dropout: share of labels replaced by the null class, for guidance.
        dropout: on token embeddings and on the outputs of attention and MLP.
        token_noise: share of the tokens before each one that random ones replace, so that a wrong one does less harm
            when sampling; what is to be predicted stays.
        sharded: whether to spread the model over the processes (FSDP2) instead of giving each a copy.
        unlabelled_as_null: whether images without a class are trained on as of the null class; else they are refused.
    """

    label_dropout: float = 0.1
    dropout: float = 0.0
    token_noise: float = 0.0
    sharded: bool = False
    unlabelled_as_null: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share_below_1(self, "label_dropout", "dropout", "token_noise")
        if self.sharded and self.optimizer == "muon":
            raise ValueError("Muon needs whole matrices: leave out sharded, or take optimizer: adamw")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Sizes and settings of a training: everything except the data.

    Attributes:
        data: how images are read.
        tokenizer: sizes of the tokenizer; in YAML, ``size`` may name one of ``TOKENIZER_SIZES``.
        tokenizer_training: its training.
        prior: sizes of the prior: fields of ``PriorConfig``, or ``size`` for one of ``PRIOR_SIZES``.
        prior_training: its training.
    """

    data: DataRecipe = field(default_factory=DataRecipe)
    tokenizer: TokenizerConfig
    tokenizer_training: TokenizerTraining
    prior: Mapping[str, Any]
    prior_training: PriorTraining

    def __post_init__(self) -> None:
        self.prior_config(("any",))
        training, depth = self.tokenizer_training, self.tokenizer.decoder_depth
        if training.alignment_weight > 0 and training.alignment_layer >= depth:
            raise ValueError(
                f"tokenizer_training: alignment_layer {training.alignment_layer} must be one of the {depth} blocks "
                f"of the diffusion decoder, 0 to {depth - 1}"
            )
        for name, least in (("perceptual_weight", 16), ("adversarial_weight", 8)):
            if getattr(training, name) > 0 and self.tokenizer.image_size < least:
                raise ValueError(f"tokenizer_training: {name} needs images of at least {least} pixels")

    def prior_config(self, class_names: Sequence[str]) -> PriorConfig:
        """Make the prior's configuration for given classes and the recipe's tokenizer.

        Raises:
            ValueError: for an unknown size or field.
        """
        chosen = _sized(PRIOR_SIZES, "prior", self.prior)
        common = {"codebook_size": self.tokenizer.codebook_size, "num_tokens": self.tokenizer.num_tokens}
        return build(PriorConfig, "prior", {**chosen, **common, "class_names": tuple(class_names)})

    def fixed_settings(self) -> dict[str, Any]:
        """List the settings that may not change when a training is resumed, by name."""
        training = self.tokenizer_training
        found: dict[str, Any] = {
            # With them comes a network, which must be there or not.
            "tokenizer_training.alignment_weight": bool(training.alignment_weight),
            "tokenizer_training.adversarial_weight": bool(training.adversarial_weight),
            "tokenizer_training.adversarial_halvings": training.adversarial_halvings,
            "tokenizer_training.train": training.train,
        }
        found |= {f"tokenizer.{field.name}": getattr(self.tokenizer, field.name) for field in fields(self.tokenizer)}
        names = ("crop", "flip", "streaming", "shuffle_buffer", "image_column", "label_column")
        found |= {f"data.{name}": getattr(self.data, name) for name in names}
        found["prior_training.unlabelled_as_null"] = self.prior_training.unlabelled_as_null
        for model, settings in (("tokenizer", training), ("prior", self.prior_training)):
            kept = ("seed", "batch_size", "optimizer")
            found |= {f"{model}_training.{name}": getattr(settings, name) for name in kept}
        return found | {"prior": self.prior_config(("any",))}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Make a recipe from plain dictionaries; raises ValueError for an impossible value."""
        sizes = _sized(TOKENIZER_SIZES, "tokenizer", section_of(content, "tokenizer"))
        sections = {
            "data": build(DataRecipe, "data", section_of(content, "data")),
            "tokenizer": build(TokenizerConfig, "tokenizer", sizes),
            "tokenizer_training": build(
                TokenizerTraining, "tokenizer_training", section_of(content, "tokenizer_training")
            ),
            "prior": section_of(content, "prior"),
            "prior_training": build(PriorTraining, "prior_training", section_of(content, "prior_training")),
        }
        return build(cls, "the recipe", {**content, **sections})


def recipe_names() -> list[str]:
    """List the recipes of models that the package brings along."""
    return [name for name in all_names() if not name.startswith(OF_CLASSIFIERS)]


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a model's recipe; arguments and errors are those of ``read_recipe``."""
    return read_recipe(source, overrides, recipe_names(), Recipe.from_dict)


def _sized(named: Mapping[str, Mapping[str, Any]], part: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Resolve a model's fields, some of which the name of a ``size`` chooses together."""
    chosen = dict(values)
    size = chosen.pop("size", None)
    if size is not None and size not in list(named):
        raise ValueError(f"{part} has no size {size!r}: choose one of {', '.join(named)}")
    return {**(named[size] if size is not None else {}), **chosen}
