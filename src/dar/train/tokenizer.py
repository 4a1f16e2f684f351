"""Training of the sequential diffusion tokenizer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from dar.data import Batch, BrokenImages, Images, MicroBatches, preview_pixels
from dar.errors import DARError
from dar.images import save_image
from dar.metrics.similarity import psnr
from dar.model_folder import RECIPE
from dar.nn import Block
from dar.reconstruction import reconstruction_sheet, reconstructions
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.tokenizer.diffusion_decoder import DiffusionBlock
from dar.tokenizer.output import TokenizerOutput
from dar.train.adversarial import AdversarialLoss
from dar.train.alignment import AlignedTokenizer, tokenizer_in
from dar.train.codebook import CodebookUpkeep
from dar.train.distributed import Distributed
from dar.train.draws import draw
from dar.train.fine_tuning import start_tokenizer
from dar.train.frozen_losses import FrozenLosses
from dar.train.launch import Launch
from dar.train.loop import Outcome
from dar.train.losses import flow_loss_per_image, tokenizer_losses
from dar.train.own_states import reach
from dar.train.recipe import Recipe
from dar.train.recipe_files import save_recipe
from dar.train.run_images import open_training_images, open_validation, stream_of
from dar.train.task import Task

SAMPLE_IMAGES = 8


class TokenizerTask(Task):
    """Images in, weighted losses out, and a codebook that stays alive.

    Args:
        recipe: sizes and settings.
        data: training images.
        shown: images whose reconstructions are drawn.
        distributed: the processes that train together.
        tokenizer: to begin with; None means a new one, of random weights.

    Raises:
        DARError: if the recipe wants a loss whose weights can't be had.
    """

    recomputed = (Block, DiffusionBlock)

    def __init__(
        self,
        recipe: Recipe,
        data: Images,
        shown: Images,
        distributed: Distributed,
        tokenizer: SequentialDiffusionTokenizer | None = None,
    ) -> None:
        settings, device = recipe.tokenizer_training, distributed.device
        self.recipe, self.settings, self.distributed = recipe, settings, distributed
        torch.manual_seed(settings.seed)
        self.tokenizer = tokenizer or SequentialDiffusionTokenizer(recipe.tokenizer)
        if settings.train == "decoder":
            self.tokenizer.encoder.requires_grad_(False)
            self.tokenizer.quantizer.requires_grad_(False)
        self.frozen_losses = distributed.main_first(
            lambda: FrozenLosses(settings, recipe.tokenizer.image_size, device)
        )  # one downloads, the others find
        self.model: nn.Module = self.tokenizer
        if (target := self.frozen_losses.target) is not None:
            self.model = AlignedTokenizer(self.tokenizer, settings.alignment_layer, target.width)
        self.stream = stream_of(recipe, data)
        self.broken = BrokenImages(data.source, recipe.data.max_broken_share)
        self.shown = preview_pixels(shown, recipe.tokenizer.image_size, SAMPLE_IMAGES)
        self.upkeep = CodebookUpkeep(self.tokenizer, settings, self.stream, distributed)
        self.adversarial = AdversarialLoss(settings, device) if settings.adversarial_weight else None
        # Of each group since the last line of the log: sum of flow losses, and images.
        self.flow_by_group = torch.zeros(2, recipe.tokenizer.num_groups, dtype=torch.float64, device=device)
        self._flow_of_step = torch.zeros_like(self.flow_by_group)  # of this process
        self.extra: Mapping[str, Tensor] = {
            **self.upkeep.counts,
            "flow_by_group": self.flow_by_group,
            **(self.adversarial.tensors() if self.adversarial else {}),
        }

    def batches(self, first: int, last: int, micro_batches: MicroBatches) -> Iterator[Batch]:
        """Give micro-batches of steps ``first`` to ``last`` (excluded); each unreadable image is named once."""
        for batch in self.stream.batches(
            self.settings.batch_size, first, last, self.recipe.data.workers, micro_batches
        ):
            self.broken.add(len(batch.pixels), batch.broken)
            yield batch

    def losses(
        self, model: nn.Module, batch: Batch, step: int, rows: range, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Compute weighted terms of one micro-batch's part of the loss."""
        settings, pixels = self.settings, batch.pixels.to(generator.device)
        of_all = draw(self.recipe, step, pixels.shape[1:], generator)
        own = of_all.of(rows)
        quantised = step >= settings.continuous_steps
        reached = reach(self.tokenizer, pixels, own.noise, own.ticks) if own.ticks.any() else None
        output: TokenizerOutput = model(pixels, own.u, own.noise, quantised, reached)
        self._note(output)
        losses = tokenizer_losses(output, pixels, self.recipe.tokenizer, settings.pixel_weight)
        losses |= self.frozen_losses.losses(output, pixels, own.offsets)
        part = len(rows) / settings.batch_size
        if self.adversarial is not None and step >= settings.adversarial_start:
            self.adversarial.add_discriminator_gradients(output.predicted_image, pixels, part)
            losses["adversarial"] = self.adversarial.loss(output.predicted_image)
        parts = {
            "flow": (own.ticks == 0).sum() / (of_all.ticks == 0).sum(),
            **self._quantizer_parts(own.u, of_all.u, quantised),
        }
        return {name: parts.get(name, part) * value for name, value in losses.items()}

    def _quantizer_parts(self, u: Tensor, u_of_all: Tensor, quantised: bool) -> dict[str, Tensor | float]:
        """Compute a micro-batch's part of the batch's quantizer losses: that of the tokens it uses.

        None while nothing is quantised, or where a frozen codebook can't learn.
        """
        if not quantised or self.settings.train == "decoder":
            return {"codebook": 0.0, "commitment": 0.0}
        groups, groups_of_all = self.tokenizer.clock.group(u) + 1, self.tokenizer.clock.group(u_of_all) + 1
        used = groups.sum() / groups_of_all.sum()
        return {"codebook": used, "commitment": used}

    @torch.no_grad()
    def _note(self, output: TokenizerOutput) -> None:
        """Keep what the codebook's upkeep and the log need of one micro-batch."""
        self.upkeep.note(output)
        errors = flow_loss_per_image(output, self.recipe.tokenizer.data_std)
        groups = torch.stack([errors.double(), torch.ones_like(errors, dtype=torch.float64)]) * output.on_path
        self._flow_of_step.index_add_(1, output.group, groups)

    def after_step(
        self, optimizer: torch.optim.Optimizer, averaged: nn.Module, step: int, generator: torch.Generator
    ) -> None:
        """Move the discriminator, and look after the codebook."""
        if self.adversarial is not None and step >= self.settings.adversarial_start:
            self.adversarial.step(self.settings.learning_rate_at(step), self.distributed)
        self.flow_by_group += self.distributed.all_reduce_sum(self._flow_of_step)
        self._flow_of_step.zero_()
        self.upkeep.after_step(optimizer, averaged, step, generator)

    def statistics(self) -> dict[str, float]:
        """Give codebook usage, perplexity and each group's flow loss since the last call; unreadable images so far."""
        unreadable = torch.tensor(len(self.broken), device=self.distributed.device)
        errors, images = self.flow_by_group.tolist()
        of_groups = enumerate(zip(errors, images, strict=True))
        flow = {f"flow_of_group_{k}": error / count for k, (error, count) in of_groups if count}
        self.flow_by_group.zero_()
        return {**self.upkeep.statistics(), "broken_images": self.distributed.all_reduce_sum(unreadable).item(), **flow}

    def evaluate(self, averaged: nn.Module, picture: Path) -> dict[str, float]:
        """Draw each shown image beside its reconstructions from 1 to K groups; return the PSNR of the last."""
        stages = [stage.cpu() for stage in reconstructions(tokenizer_in(averaged), self.shown)]
        save_image(reconstruction_sheet(self.shown, stages), picture)
        return {"psnr": psnr(stages[-1], self.shown).mean().item()}

    def export(self, averaged: nn.Module, folder: Path, distributed: Distributed) -> None:
        """Write the averaged tokenizer."""
        if distributed.is_main:
            tokenizer_in(averaged).save_pretrained(folder)
            save_recipe(self.recipe, folder / RECIPE)


def train_tokenizer(
    recipe: Recipe,
    data: str | Path,
    out: str | Path,
    *,
    validation: str | Path | None = None,
    init: str | Path | None = None,
    resume: bool = False,
    trackers: Sequence[str] = (),
) -> Outcome:
    """Train a tokenizer; ``out/model`` then holds it.

    Under a launcher, every process calls this.

    Args:
        recipe: sizes and settings.
        data: see ``open_images``.
        out: the run's folder; new or empty, unless resumed.
        validation: images to draw reconstructions of; None means the training images.
        init: a model, or a tokenizer alone, to begin with the weights of; its codebook is there, so that the recipe's
            ``continuous_steps`` are left out. When resuming, None means that of the run's beginning.
        resume: whether to go on with the run in ``out``.
        trackers: where the log also goes.

    Returns:
        Whether training is complete, or how it was stopped.

    Raises:
        DARError: for data, folder or checkpoint that cannot be used, or a loss that diverged.
    """
    launch = Launch(out, recipe.tokenizer_training, resume=resume, init=init, trackers=trackers)
    recipe = _with_init(recipe, launch.init)
    images, held_out = open_training_images(recipe.data, data), open_validation(recipe.data, validation)
    launch.announce(data=images.summary, validation=held_out.summary if held_out else None)
    tokenizer = launch.initial(lambda source: start_tokenizer(source, recipe.tokenizer) if source else (None, []))
    task = TokenizerTask(recipe, images, held_out or images, launch.distributed, tokenizer)
    with launch.begun(recipe, images.fingerprint):
        return launch.fit(task)


def _with_init(recipe: Recipe, init: str | None) -> Recipe:
    """Adapt the recipe to whether training begins with the weights of a model or with random ones.

    Raises:
        DARError: if only the decoder is to be trained, and there are no weights to begin with.
    """
    training = recipe.tokenizer_training
    if init is not None:
        return replace(recipe, tokenizer_training=replace(training, continuous_steps=0))
    if training.train == "decoder":
        raise DARError(
            "tokenizer_training.train=decoder leaves the encoder as it is, which has learned nothing yet: name a model "
            "to begin with by --init"
        )
    return recipe
