"""Training of the prior on a frozen tokenizer's tokens."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from dar.data import EndlessOrder, ImageDataset, Share
from dar.errors import DARError
from dar.images import display_scale, grid, save_image
from dar.pipeline import RECIPE, DARPipeline, load_tokenizer, model_folder
from dar.prior import Prior
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.train.loop import Task, fit
from dar.train.recipe import Recipe, load_recipe, save_recipe
from dar.train.run_folder import RunFolder, begin
from dar.train.token_shards import TokenShards, tokenize_images
from dar.train.tokens import Tokens, weights_hash

SHOWN_CLASSES = 10
SHOWN_PER_CLASS = 4
SHOWN_GUIDANCE = (1.0, 3.0)
VALIDATION_BATCH = 128


class PriorTask(Task):
    """Tokens in, cross-entropy out.

    Args:
        recipe: sizes and settings.
        tokenizer: the frozen tokenizer that made the tokens.
        class_names: one name a label.
        training: tokens to train on.
        validation: tokens to measure the held-out cross-entropy on, or None.
    """

    extra: Mapping[str, Tensor]

    def __init__(
        self,
        recipe: Recipe,
        tokenizer: SequentialDiffusionTokenizer,
        class_names: tuple[str, ...],
        training: Tokens,
        validation: Tokens | None,
    ) -> None:
        self.recipe, self.settings, self.tokenizer = recipe, recipe.prior_training, tokenizer
        self.training, self.validation = training, validation
        torch.manual_seed(self.settings.seed)
        self.prior = Prior(recipe.prior_config(class_names))
        self.model: nn.Module = self.prior
        self.extra = {}
        self.order = EndlessOrder(len(training), self.settings.seed)

    def batches(self, first: int, last: int, share: Share | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Labels (B) and tokens (B x N) of one process's pieces of steps ``first`` to ``last`` (excluded).

        Each visit of an image draws one of its views.
        """
        for step in range(first, last):
            for piece in (share or Share()).positions(self.settings.batch_size, step):
                images = torch.tensor([self.order[position] for position in piece])
                views = torch.tensor([self._view(position) for position in piece])
                yield self.training.labels[images].long(), self.training.rows(images, views)

    def _view(self, position: int) -> int:
        return random.Random(f"{self.settings.seed}/view {position}").randrange(self.training.views)

    def losses(self, model: nn.Module, batch: Any, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Cross-entropy of one step, in nats a token."""
        labels, tokens = (tensor.to(generator.device) for tensor in batch)
        dropped = torch.rand(len(labels), generator=generator, device=generator.device) < self.settings.label_dropout
        labels = torch.where(dropped, self.prior.config.null_class, labels)
        return {"cross_entropy": cross_entropy(model(labels, tokens), tokens)}

    def after_step(
        self, optimizer: torch.optim.Optimizer, averaged: nn.Module, step: int, generator: torch.Generator
    ) -> None:
        """Nothing more is needed."""

    def statistics(self) -> dict[str, float]:
        """Nothing beyond the loss."""
        return {}

    def evaluate(self, averaged: nn.Module, picture: Path) -> dict[str, float]:
        """Draw a row of samples for each of the first classes; held-out cross-entropy, where there is such data."""
        assert isinstance(averaged, Prior)
        pipe = DARPipeline(self.tokenizer, averaged)
        count = min(SHOWN_CLASSES, averaged.config.num_classes)
        classes = [index for index in range(count) for _ in range(SHOWN_PER_CLASS)]
        images = pipe(classes, guidance_scale=SHOWN_GUIDANCE).images
        rows = [images[i : i + SHOWN_PER_CLASS] for i in range(0, len(images), SHOWN_PER_CLASS)]
        save_image(grid(rows, scale=display_scale(self.tokenizer.config.image_size)), picture)
        if self.validation is None:
            return {}
        return {"validation_cross_entropy": held_out_cross_entropy(averaged, self.validation)}

    def export(self, averaged: nn.Module, folder: Path) -> None:
        """Write tokenizer and averaged prior, for ``DARPipeline.from_pretrained``."""
        assert isinstance(averaged, Prior)
        DARPipeline(self.tokenizer, averaged).save_pretrained(folder)
        save_recipe(self.recipe, folder / RECIPE)


def cross_entropy(logits_BNV: Tensor, tokens_BN: Tensor) -> Tensor:
    """Mean over all tokens, in nats: scalar."""
    return F.cross_entropy(logits_BNV.float().flatten(0, 1), tokens_BN.flatten())


@torch.no_grad()
def held_out_cross_entropy(prior: Prior, tokens: Tokens) -> float:
    """Mean cross-entropy of the first view of all images, in nats a token."""
    total = 0.0
    for images in torch.arange(len(tokens)).split(VALIDATION_BATCH):
        labels = tokens.labels[images].long().to(prior.device)
        batch = tokens.rows(images, torch.zeros_like(images)).to(prior.device)
        total += cross_entropy(prior(labels, batch), batch).item() * len(labels)
    return total / len(tokens)


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


def _recipe_of(tokenizer: SequentialDiffusionTokenizer, recipe: Recipe, trained_with: Path) -> Recipe:
    """The recipe, completed by how its tokenizer was trained where that is known.

    Raises:
        DARError: if the recipe's tokenizer has other sizes.
    """
    for field in fields(tokenizer.config):
        ours, theirs = getattr(tokenizer.config, field.name), getattr(recipe.tokenizer, field.name)
        if ours != theirs:
            raise DARError(
                f"the tokenizer's {field.name} is {ours}, the recipe's {theirs}: "
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
    resume: bool = False,
) -> bool:
    """Train a prior; ``out/model`` then holds it together with its tokenizer.

    Args:
        recipe: sizes and settings.
        data: labelled images, see ``ImageDataset``; or None, if there are ``tokens``.
        tokenizer: folder or Hub id of the frozen tokenizer.
        out: the run's folder; new or empty, unless resumed.
        tokens: folder of the images' tokens, see ``TokenShards``; or None, if there are ``data``.
        validation: labelled images to measure the held-out cross-entropy on.
        resume: whether to go on with the run in ``out``.

    Returns:
        Whether training is complete; False if it was interrupted.

    Raises:
        DARError: for data, tokenizer, folder or checkpoint that cannot be used, or a loss that diverged.
    """
    if (data is None) == (tokens is None):
        raise DARError("a prior is trained on either images or tokens: give one of --data and --tokens")
    run = RunFolder(Path(out))
    accelerator = Accelerator()
    frozen = load_tokenizer(tokenizer, device=accelerator.device).requires_grad_(False)
    recipe = _recipe_of(frozen, recipe, model_folder(tokenizer) / RECIPE)
    source = TokenShards(tokens) if tokens is not None else ImageDataset(str(data))
    class_names = source.manifest.class_names if isinstance(source, TokenShards) else source.class_names
    if not class_names:
        raise DARError(f"{tokens or data} has no class labels: put the images into a folder for each class")
    if isinstance(source, TokenShards) and source.manifest.tokenizer != weights_hash(frozen):
        raise DARError(f"{tokens} was made by another tokenizer than {tokenizer}: use that one, or tokenize again")
    others = None if validation is None else ImageDataset(validation, "validation")
    if others is not None and others.class_names != class_names:
        raise DARError(f"{validation} has other classes than {tokens or data}: validate on images of the same classes")
    begin(run, recipe, resume=resume)

    def computed(images: ImageDataset, name: str, views: int) -> TokenShards:
        tokenize_images(
            frozen,
            images,
            run.path / name,
            views=views,
            workers=recipe.data.workers,
            process=accelerator.process_index,
            processes=accelerator.num_processes,
            max_broken_share=recipe.data.max_broken_share,
        )
        accelerator.wait_for_everyone()
        return TokenShards(run.path / name)

    training = source if isinstance(source, TokenShards) else computed(source, "tokens", 2 if recipe.data.flip else 1)
    held_out = None if others is None else computed(others, "validation-tokens", 1)
    tqdm.write(f"training on {training.views} views of each of {len(training)} images")
    task = PriorTask(recipe, frozen, class_names, training, held_out)
    if recipe.prior_training.dropout:
        add_dropout(task.prior, recipe.prior_training.dropout)
    return fit(task, recipe.prior_training, run, resume=resume)
