"""Training of the sequential diffusion tokenizer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from dar.data import Batch, BrokenImages, Images, Share, preview_pixels
from dar.errors import DARError
from dar.extras import check_trackers
from dar.images import save_image
from dar.metrics.codebook import perplexity, usage
from dar.metrics.similarity import psnr
from dar.model_folder import RECIPE
from dar.nn import Block
from dar.reconstruction import reconstruction_sheet, reconstructions
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.tokenizer.diffusion_decoder import DiffusionBlock
from dar.tokenizer.model import ReachedStates, TokenizerOutput
from dar.train.codebook import reseed, spherical_kmeans
from dar.train.distributed import Distributed
from dar.train.fine_tuning import agreed_init, start_tokenizer
from dar.train.guides import AlignedTokenizer, Guides, Opponent
from dar.train.loop import Outcome, Task, fit
from dar.train.losses import flow_loss_per_image, tokenizer_losses
from dar.train.own_states import own_ticks, reach
from dar.train.recipe import Recipe
from dar.train.recipe_files import save_recipe
from dar.train.run_folder import RunFolder, begun
from dar.train.run_images import open_training_images, open_validation, stream_of, tell, tell_found

SAMPLE_IMAGES = 8
FITTED_FEATURES_PER_CODE = 32


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

    def __init__(
        self,
        recipe: Recipe,
        data: Images,
        shown: Images,
        distributed: Distributed,
        tokenizer: SequentialDiffusionTokenizer | None = None,
    ) -> None:
        self.recipe, self.settings = recipe, recipe.tokenizer_training
        torch.manual_seed(self.settings.seed)
        self.tokenizer = tokenizer or SequentialDiffusionTokenizer(recipe.tokenizer)
        if self.settings.train == "decoder":
            self.tokenizer.encoder.requires_grad_(False)
            self.tokenizer.quantizer.requires_grad_(False)
        self.guides = distributed.main_first(
            lambda: Guides(self.settings, recipe.tokenizer.image_size, distributed.device)
        )  # one downloads, the others find
        self.model: nn.Module = self.tokenizer
        if self.guides.target is not None:
            self.model = AlignedTokenizer(self.tokenizer, self.settings.alignment_layer, self.guides.target.width)
        self.recomputed = (Block, DiffusionBlock)
        self.stream = stream_of(recipe, data)
        self.broken = BrokenImages(data.source, recipe.data.max_broken_share)
        self.shown = preview_pixels(shown, recipe.tokenizer.image_size, SAMPLE_IMAGES)
        codes = recipe.tokenizer.codebook_size
        self.counts = {
            "counts_since_reseed": torch.zeros(codes, dtype=torch.int64, device=distributed.device),
            "counts_since_log": torch.zeros(codes, dtype=torch.int64, device=distributed.device),
        }
        # Of each group since the last line of the log: sum of flow losses, and images.
        self.flow_by_group = torch.zeros(2, recipe.tokenizer.num_groups, dtype=torch.float64, device=distributed.device)
        self.extra: Mapping[str, Tensor] = self.counts | {"flow_by_group": self.flow_by_group}
        self.opponent = Opponent(self.settings, distributed.device) if self.settings.adversarial_weight else None
        if self.opponent is not None:
            self.extra = {**self.extra, **self.opponent.tensors()}
        self._errors = torch.zeros_like(self.flow_by_group)  # of this process and step
        self._codes: list[Tensor] = []
        self._features: list[Tensor] = []

    def batches(self, first: int, last: int, share: Share) -> Iterator[Batch]:
        """Pieces of steps ``first`` to ``last`` (excluded); names each unreadable image once."""
        for piece in self.stream.batches(self.settings.batch_size, first, last, self.recipe.data.workers, share):
            self.broken.add(len(piece.pixels), piece.broken)
            yield piece

    def shard_units(self, model: nn.Module) -> Sequence[nn.Module]:
        """None: a tokenizer fits every GPU."""
        return ()

    def losses(
        self, model: nn.Module, piece: Batch, step: int, rows: range, draws: torch.Generator
    ) -> dict[str, Tensor]:
        """Weighted terms of one piece's part of the loss."""
        settings, device = self.settings, draws.device
        pixels = piece.pixels.to(device)
        ticks_of_all = self._ticks(step)
        u_of_all = self._clocks(ticks_of_all, draws)
        noise_of_all = torch.randn(settings.batch_size, *pixels.shape[1:], generator=draws, device=device)
        size = 2 * settings.perceptual_shift + 1
        offsets_of_all = torch.randint(size, (settings.batch_size, 2), generator=draws, device=device)
        own = slice(rows.start, rows.stop)
        ticks, u, noise, offsets = ticks_of_all[own], u_of_all[own], noise_of_all[own], offsets_of_all[own]
        quantised = step >= settings.continuous_steps
        reached = reach(self.tokenizer, pixels, noise, ticks) if ticks.any() else None
        output, aligned = self._pass(model, pixels, u, noise, quantised, reached)
        self._note(output)
        part = len(rows) / settings.batch_size
        parts = {
            "flow": (ticks == 0).sum() / (ticks_of_all == 0).sum(),
            **self._quantizer_parts(u, u_of_all, quantised),
        }
        losses = tokenizer_losses(output, pixels, self.recipe.tokenizer, settings.pixel_weight)
        losses |= self.guides.losses(output, pixels, offsets, aligned)
        if self.opponent is not None and step >= settings.adversarial_start:
            losses |= self.opponent.losses(output.predicted_image, pixels, part)
        return {name: parts.get(name, part) * value for name, value in losses.items()}

    def _ticks(self, step: int) -> Tensor:
        """Before which denoising step each image of a batch is taken from the sampler's own path; see ``own_ticks``.

        They stay on the CPU, so that asking whether there are any waits for no GPU.
        """
        settings = self.settings
        begun = step >= max(settings.own_state_start, settings.continuous_steps)
        share = settings.own_state_share if begun else 0.0
        return own_ticks(settings.batch_size, share, self.recipe.tokenizer.num_steps, step)

    def _clocks(self, ticks_B: Tensor, draws: torch.Generator) -> Tensor:
        """The clock of each image of a batch: drawn, or where its own denoising step begins."""
        drawn = stratified_uniform(len(ticks_B), draws)
        ticks_B = ticks_B.to(drawn.device)
        return torch.where(ticks_B > 0, ticks_B / self.recipe.tokenizer.num_steps, drawn)

    def _quantizer_parts(self, u: Tensor, u_of_all: Tensor, quantised: bool) -> dict[str, Tensor | float]:
        """A piece's part of a batch's quantizer losses: that of the tokens it uses.

        None while nothing is quantised, or where a frozen codebook can't learn.
        """
        if not quantised or self.settings.train == "decoder":
            return {"codebook": 0.0, "commitment": 0.0}
        groups, groups_of_all = self.tokenizer.clock.group(u) + 1, self.tokenizer.clock.group(u_of_all) + 1
        used = groups.sum() / groups_of_all.sum()
        return {"codebook": used, "commitment": used}

    def _pass(
        self,
        model: nn.Module,
        pixels: Tensor,
        u: Tensor,
        noise: Tensor,
        quantised: bool,
        reached: ReachedStates | None,
    ) -> tuple[TokenizerOutput, Tensor | None]:
        """The training pass, and what the alignment head made of it where there is one."""
        found = model(pixels, u, noise, quantised, reached)
        return (found, None) if self.guides.target is None else found

    @torch.no_grad()
    def _note(self, output: TokenizerOutput) -> None:
        """Keep what re-seeding and the log need of one piece."""
        self._codes.append(output.codes.flatten())
        self._features.append(output.features.detach().flatten(0, 1))
        errors = flow_loss_per_image(output, self.recipe.tokenizer.data_std)
        groups = torch.stack([errors.double(), torch.ones_like(errors, dtype=torch.float64)]) * output.on_path
        self._errors.index_add_(1, output.group, groups)

    def after_step(
        self,
        optimizer: torch.optim.Optimizer,
        averaged: nn.Module,
        step: int,
        draws: torch.Generator,
        distributed: Distributed,
    ) -> None:
        """Fit the codebook to features when the continuous phase ends; re-seed unused codes from time to time."""
        own = torch.bincount(torch.cat(self._codes), minlength=self.recipe.tokenizer.codebook_size)
        counts = distributed.all_reduce_sum(own)
        for total in self.counts.values():
            total += counts
        if self.opponent is not None and step >= self.settings.adversarial_start:
            self.opponent.step(self.settings.learning_rate_at(step), distributed)
        self.flow_by_group += distributed.all_reduce_sum(self._errors)
        self._errors.zero_()
        features = torch.cat(self._features)
        self._codes, self._features = [], []
        quantised_steps = step + 1 - self.settings.continuous_steps
        interval = self.settings.reseed_steps
        if quantised_steps == 0:
            self._fit_codebook(averaged, draws, distributed)
        elif quantised_steps > 0 and interval and quantised_steps % interval == 0 and self.settings.train == "all":
            self._reseed(optimizer, averaged, distributed.gather(features), draws)

    @torch.no_grad()
    def _fit_codebook(self, averaged: nn.Module, generator: torch.Generator, distributed: Distributed) -> None:
        config = self.recipe.tokenizer
        wanted = -(-FITTED_FEATURES_PER_CODE * config.codebook_size // config.num_tokens)
        batch_size = self.settings.batch_size
        features = [
            nn.functional.normalize(self.tokenizer.encoder(batch.pixels.to(generator.device)), dim=-1).flatten(0, 1)
            for batch in self.stream.batches(batch_size, 0, -(-wanted // batch_size), workers=0)
        ]
        centres = distributed.broadcast(spherical_kmeans(torch.cat(features), config.codebook_size, generator))
        for tokenizer in (self.tokenizer, tokenizer_in(averaged)):
            tokenizer.quantizer.codebook.copy_(centres)
        self.counts["counts_since_reseed"].zero_()

    @torch.no_grad()
    def _reseed(
        self, optimizer: torch.optim.Optimizer, averaged: nn.Module, features: Tensor, generator: torch.Generator
    ) -> None:
        counts = self.counts["counts_since_reseed"]
        codebook = self.tokenizer.quantizer.codebook
        unused = (counts == 0).to(codebook.device)
        reseed(codebook, unused, features, generator)
        tokenizer_in(averaged).quantizer.codebook[unused] = codebook[unused]
        for moment in ("exp_avg", "exp_avg_sq"):
            optimizer.state[codebook][moment][unused] = 0
        counts.zero_()

    def statistics(self, distributed: Distributed) -> dict[str, float]:
        """Codebook usage, perplexity and the flow loss of each group since the last call; unreadable images so far."""
        counts = self.counts["counts_since_log"]
        errors, images = self.flow_by_group.tolist()
        broken = distributed.all_reduce_sum(torch.tensor(len(self.broken), device=distributed.device)).item()
        figures = {"codebook_usage": usage(counts), "codebook_perplexity": perplexity(counts), "broken_images": broken}
        of_groups = enumerate(zip(errors, images, strict=True))
        figures |= {f"flow_of_group_{k}": error / count for k, (error, count) in of_groups if count}
        counts.zero_()
        self.flow_by_group.zero_()
        return figures

    def evaluate(self, averaged: nn.Module, picture: Path) -> dict[str, float]:
        """Draw each shown image beside its reconstructions from 1 to K groups; PSNR of the last."""
        stages = [stage.cpu() for stage in reconstructions(tokenizer_in(averaged), self.shown)]
        save_image(reconstruction_sheet(self.shown, stages), picture)
        return {"psnr": psnr(stages[-1], self.shown).mean().item()}

    def export(self, averaged: nn.Module, folder: Path, distributed: Distributed) -> None:
        """Write the averaged tokenizer."""
        if distributed.is_main:
            tokenizer_in(averaged).save_pretrained(folder)
            save_recipe(self.recipe, folder / RECIPE)


def tokenizer_in(model: nn.Module) -> SequentialDiffusionTokenizer:
    """The tokenizer itself, without what training adds to it."""
    tokenizer = model.tokenizer if isinstance(model, AlignedTokenizer) else model
    assert isinstance(tokenizer, SequentialDiffusionTokenizer)
    return tokenizer


def stratified_uniform(count: int, generator: torch.Generator) -> Tensor:
    """Numbers in [0, 1), each uniform, one from each of ``count`` equal intervals: a batch covers all times evenly."""
    strata = torch.randperm(count, generator=generator, device=generator.device)
    spread = (strata + torch.rand(count, generator=generator, device=generator.device)) / count
    return spread.clamp(max=1 - 2**-24)  # rounding could reach 1


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
        validation: images to draw reconstructions of; the training data unless told.
        init: a model, or a tokenizer alone, to begin with the weights of; its codebook is there, so that the recipe's
            ``continuous_steps`` are left out. When resuming, that of the run's beginning unless told.
        resume: whether to go on with the run in ``out``.
        trackers: where the log also goes.

    Returns:
        Whether training is complete, or how it was stopped.

    Raises:
        DARError: for data, folder or checkpoint that cannot be used, or a loss that diverged.
    """
    distributed, run = Distributed(), RunFolder(Path(out))
    init = agreed_init(run, init, resume=resume)
    recipe = _with_init(recipe, init)
    distributed.share(recipe.tokenizer_training.gradient_accumulation).positions(
        recipe.tokenizer_training.batch_size, 0
    )
    images, held_out = open_training_images(recipe.data, data), open_validation(recipe.data, validation)
    found = {"data": images.summary, "validation": held_out.summary if held_out else None}
    tell_found(found, distributed)
    tokenizer = None
    if init is not None and not run.checkpoints():
        tokenizer, said = distributed.main_first(lambda: start_tokenizer(init, recipe.tokenizer))
        tell(said, distributed)
    task = TokenizerTask(recipe, images, held_out or images, distributed, tokenizer)
    check_trackers(trackers)
    with begun(run, recipe, distributed, images.fingerprint, found, resume=resume, init=init):
        return fit(task, recipe.tokenizer_training, run, distributed, resume=resume, trackers=trackers)


def _with_init(recipe: Recipe, init: str | None) -> Recipe:
    """The recipe of a training that begins with the weights of a model, or with random ones.

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
