"""Training of the prior on a frozen tokenizer's tokens."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from dar.class_sheet import class_sheet
from dar.data import EndlessOrder, MicroBatches
from dar.device import full_tensor
from dar.errors import DARError
from dar.fields import differing_fields
from dar.images import save_image
from dar.model_folder import RECIPE, model_folder
from dar.pipeline import DARPipeline, load_tokenizer
from dar.prior import Prior
from dar.randomness import derived_rng
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.train.distributed import Distributed
from dar.train.fine_tuning import start_prior
from dar.train.launch import Launch
from dar.train.loop import Outcome
from dar.train.prior_losses import corrupted, cross_entropy, held_out_cross_entropy, with_null_class
from dar.train.recipe import Recipe, load_recipe
from dar.train.recipe_files import save_recipe
from dar.train.run_images import check_classes, open_validation
from dar.train.task import Task
from dar.train.token_sources import ImagesToTokenize, TokenSource, check_labelled, open_token_source
from dar.train.tokens import Tokens

SHOWN_CLASSES = 10
SHOWN_PER_CLASS = 4


class PriorTask(Task):
    """Tokens in, cross-entropy out.

    Args:
        recipe: sizes and settings.
        tokenizer: the frozen tokenizer that made the tokens.
        prior: the model in training; its classes are the labels'.
        training: tokens to train on.
        validation: tokens to measure the held-out cross-entropy on, or None.
    """

    extra: Mapping[str, Tensor]

    def __init__(
        self,
        recipe: Recipe,
        tokenizer: SequentialDiffusionTokenizer,
        prior: Prior,
        training: Tokens,
        validation: Tokens | None,
    ) -> None:
        self.recipe, self.settings, self.tokenizer = recipe, recipe.prior_training, tokenizer
        self.training, self.validation = training, validation
        self.prior = prior
        if self.settings.dropout:
            add_dropout(prior, self.settings.dropout)
        if not torch.cuda.is_available():
            self.prior.llama.set_attn_implementation("eager")  # on CPUs, faster than the fused kernel going backward
        self.model: nn.Module = self.prior
        self.recomputed = (LlamaDecoderLayer,)
        self.extra = {}
        self.order = EndlessOrder(len(training), self.settings.seed)

    def batches(self, first: int, last: int, micro_batches: MicroBatches) -> Iterator[tuple[Tensor, Tensor]]:
        """Give labels (B) and tokens (B x N) of each micro-batch of steps ``first`` to ``last`` (excluded).

        Each visit of an image draws one of its views.
        """
        for step in range(first, last):
            for positions in micro_batches.positions(self.settings.batch_size, step):
                images = torch.tensor([self.order[position] for position in positions])
                views = torch.tensor([self._view(position) for position in positions])
                labels = with_null_class(self.training.labels[images], self.prior.config.null_class)
                yield labels, self.training.rows(images, views)

    def _view(self, position: int) -> int:
        return derived_rng(self.settings.seed, "view", position).randrange(self.training.views)

    def shard_units(self, model: nn.Module) -> Sequence[nn.Module]:
        """List each layer, then the whole Llama, if the recipe wants it sharded."""
        assert isinstance(model, Prior)
        return [*model.llama.model.layers, model.llama] if self.settings.sharded else []

    def losses(
        self, model: nn.Module, batch: Any, step: int, rows: range, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Compute one micro-batch's part of the cross-entropy, in nats a token."""
        labels, tokens = (tensor.to(generator.device) for tensor in batch)
        chances = torch.rand(self.settings.batch_size, generator=generator, device=generator.device)
        dropped = chances[rows.start : rows.stop] < self.settings.label_dropout
        labels = torch.where(dropped, self.prior.config.null_class, labels)
        seen = corrupted(tokens, self.settings, self.prior.config.codebook_size, rows, generator)
        part = len(rows) / self.settings.batch_size
        return {"cross_entropy": part * cross_entropy(model(labels, seen), tokens)}

    def evaluate(self, averaged: nn.Module, picture: Path) -> dict[str, float]:
        """Draw a row of samples for each of the first classes; return the held-out cross-entropy, if any."""
        assert isinstance(averaged, Prior)
        pipe = DARPipeline(self.tokenizer, averaged)
        count = min(SHOWN_CLASSES, averaged.config.num_classes)
        classes = [index for index in range(count) for _ in range(SHOWN_PER_CLASS)]
        images = pipe(classes).images
        names = [averaged.config.class_names[index] for index in classes]
        save_image(class_sheet(images, names, [f"seed {i}" for i in range(len(images))]), picture)
        if self.validation is None:
            return {}
        return {"validation_cross_entropy": held_out_cross_entropy(averaged, self.validation)}

    def export(self, averaged: nn.Module, folder: Path, distributed: Distributed) -> None:
        """Write tokenizer and averaged prior, for ``DARPipeline.from_pretrained``; shards are put together."""
        weights = {}
        for name, tensor in averaged.state_dict().items():
            gathered = full_tensor(tensor)
            if distributed.is_main:
                weights[name] = gathered.cpu()
        if distributed.is_main:
            prior = Prior(self.prior.config)
            prior.load_state_dict(weights)
            DARPipeline(self.tokenizer, prior).save_pretrained(folder)
            save_recipe(self.recipe, folder / RECIPE)


def add_dropout(prior: Prior, rate: float) -> None:
    """Drop token embeddings and the outputs of attention and MLP, in training mode only.

    transformers' Llama has no such dropout; hooks add it and leave the model itself as it is.
    """

    def drop(rate: float, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return F.dropout(output, rate, training=module.training)

    model = prior.llama.model
    places = [model.embed_tokens, *(place for layer in model.layers for place in (layer.self_attn.o_proj, layer.mlp))]
    for place in places:
        place.register_forward_hook(partial(drop, rate))


def initial_prior(
    recipe: Recipe, class_names: Sequence[str], tokenizer: SequentialDiffusionTokenizer, init: str | None = None
) -> tuple[Prior, list[str]]:
    """Make a prior to be trained on a tokenizer's tokens; also say in sentences what it keeps of ``init``'s weights.

    Raises:
        DARError: see ``start_prior``.
    """
    config = recipe.prior_config(class_names)
    if init is not None:
        return start_prior(init, config, tokenizer)
    torch.manual_seed(recipe.prior_training.seed)
    return Prior(config), []


def _recipe_of(tokenizer: SequentialDiffusionTokenizer, recipe: Recipe, trained_with: Path) -> Recipe:
    """Complete the recipe by how its tokenizer was trained, where that is known.

    Raises:
        DARError: if the recipe's tokenizer has other sizes.
    """
    for name, ours, theirs in differing_fields(tokenizer.config, recipe.tokenizer):
        raise DARError(
            f"the tokenizer's {name} is {ours}, the recipe's {theirs}: "
            "use the recipe that the tokenizer was trained with"
        )
    if not trained_with.is_file():
        return recipe
    return replace(recipe, tokenizer_training=load_recipe(trained_with).tokenizer_training)


def train_prior(
    recipe: Recipe,
    data: str | Path | None,
    tokenizer: str | Path,
    out: str | Path,
    *,
    tokens: str | Path | None = None,
    validation: str | Path | None = None,
    init: str | Path | None = None,
    resume: bool = False,
    trackers: Sequence[str] = (),
) -> Outcome:
    """Train a prior; ``out/model`` then holds it together with its tokenizer.

    Under a launcher, every process calls this.

    Args:
        recipe: sizes and settings.
        data: labelled images, see ``ImageDataset``; or None, if there are ``tokens``.
        tokenizer: folder or Hub id of the frozen tokenizer.
        out: the run's folder; new or empty, unless resumed.
        tokens: folder of the images' tokens, see ``TokenShards``; or None, if there are ``data``.
        validation: labelled images to measure the held-out cross-entropy on.
        init: a model, or a prior alone, to begin with the weights of; classes are matched by name. When resuming, None
            means that of the run's beginning.
        resume: whether to go on with the run in ``out``.
        trackers: where the log also goes.

    Returns:
        Whether training is complete, or how it was stopped.

    Raises:
        DARError: for data, tokenizer, folder or checkpoint that cannot be used, or a loss that diverged.
    """
    source = open_token_source(recipe, data, tokens)
    launch = Launch(out, recipe.prior_training, resume=resume, init=init, trackers=trackers)
    frozen = load_tokenizer(tokenizer, device=launch.distributed.device).requires_grad_(False)
    recipe = _recipe_of(frozen, recipe, model_folder(tokenizer) / RECIPE)
    source.check_made_by(frozen, tokenizer)
    held_out = _open_held_out(recipe, validation, source)
    launch.announce(data=source.summary, validation=held_out.summary if held_out else None)
    prior = launch.initial(lambda start: initial_prior(recipe, source.class_names, frozen, start))
    with launch.begun(recipe, source.fingerprint):
        folder, distributed = launch.run.path, launch.distributed
        training = source.tokens(frozen, folder / "tokens", 2 if recipe.data.flip else 1, distributed)
        others = held_out.tokens(frozen, folder / "validation-tokens", 1, distributed) if held_out else None
        launch.say([f"training on {training.views} views of each of {len(training)} images"])
        return launch.fit(PriorTask(recipe, frozen, prior, training, others))


def _open_held_out(recipe: Recipe, data: str | Path | None, trained_on: TokenSource) -> ImagesToTokenize | None:
    """Open images to measure the held-out cross-entropy on, where there are any.

    Raises:
        DARError: if they cannot be read, have other classes than the training, or lack classes as ``check_labelled``
            says.
    """
    images = open_validation(recipe.data, data)
    if images is None:
        return None
    check_classes(images, trained_on.class_names, trained_on.name)
    held_out = ImagesToTokenize(images, recipe.data)
    check_labelled(held_out, recipe)
    return held_out
