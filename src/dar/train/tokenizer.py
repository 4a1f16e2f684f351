"""Training of the sequential diffusion tokenizer."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dar.data import Augmentation, AugmentedStream, Batch, ImageDataset, batches, evenly_spread
from dar.images import save_image
from dar.pipeline import RECIPE
from dar.reconstruction import psnr, reconstruction_sheet, reconstructions
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.tokenizer.model import TokenizerOutput
from dar.train.codebook import perplexity, reseed, spherical_kmeans, usage
from dar.train.loop import Task, fit
from dar.train.losses import tokenizer_losses
from dar.train.recipe import Recipe, save_recipe
from dar.train.run_folder import RunFolder, begin

SAMPLE_IMAGES = 8
FITTED_FEATURES_PER_CODE = 32


class TokenizerTask(Task):
    """Images in, weighted losses out, and a codebook that stays alive.

    Args:
        recipe: sizes and settings.
        data: training images.
        shown: images whose reconstructions are drawn.
    """

    def __init__(self, recipe: Recipe, data: ImageDataset, shown: ImageDataset) -> None:
        self.recipe, self.settings = recipe, recipe.tokenizer_training
        torch.manual_seed(self.settings.seed)
        self.tokenizer = SequentialDiffusionTokenizer(recipe.tokenizer)
        self.model: nn.Module = self.tokenizer
        augmentation = Augmentation(recipe.tokenizer.image_size, recipe.data.crop, recipe.data.flip)
        self.stream = AugmentedStream(data, augmentation, self.settings.seed)
        self.shown = evenly_spread(shown, recipe.tokenizer.image_size, SAMPLE_IMAGES)
        codes = recipe.tokenizer.codebook_size
        self.extra: Mapping[str, Tensor] = {
            "counts_since_reseed": torch.zeros(codes, dtype=torch.int64),
            "counts_since_log": torch.zeros(codes, dtype=torch.int64),
        }
        self.broken: set[str] = set()

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """Batches of steps ``first`` to ``last`` (excluded); names each unreadable image once."""
        for batch in batches(self.stream, self.settings.batch_size, first, last, self.recipe.data.workers):
            for message in batch.broken:
                if message not in self.broken:
                    self.broken.add(message)
                    tqdm.write(f"skipped, {len(self.broken)} so far: {message}")
            yield batch

    def losses(self, model: nn.Module, batch: Batch, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Weighted terms of one step's loss."""
        device = generator.device
        pixels = batch.pixels.to(device)
        u = stratified_uniform(len(pixels), generator)
        noise = torch.randn(pixels.shape, generator=generator, device=device)
        quantised = step >= self.settings.continuous_steps
        output: TokenizerOutput = model(pixels, u, noise, quantised)
        counts = torch.bincount(output.codes.flatten(), minlength=self.recipe.tokenizer.codebook_size).cpu()
        for total in self.extra.values():
            total += counts
        self._features = output.features.detach().flatten(0, 1)
        losses = tokenizer_losses(output, pixels, self.recipe.tokenizer, self.settings.pixel_weight)
        without = () if quantised else ("codebook", "commitment")
        return {name: value for name, value in losses.items() if name not in without}

    def after_step(
        self, optimizer: torch.optim.Optimizer, averaged: nn.Module, step: int, generator: torch.Generator
    ) -> None:
        """Fit the codebook to features when the continuous phase ends; re-seed unused codes from time to time."""
        quantised_steps = step + 1 - self.settings.continuous_steps
        interval = self.settings.reseed_steps
        if quantised_steps == 0:
            self._fit_codebook(averaged, generator)
        elif quantised_steps > 0 and interval and quantised_steps % interval == 0:
            self._reseed(optimizer, averaged, generator)

    @torch.no_grad()
    def _fit_codebook(self, averaged: nn.Module, generator: torch.Generator) -> None:
        assert isinstance(averaged, SequentialDiffusionTokenizer)
        config = self.recipe.tokenizer
        wanted = -(-FITTED_FEATURES_PER_CODE * config.codebook_size // config.num_tokens)
        batch_size = self.settings.batch_size
        features = [
            nn.functional.normalize(self.tokenizer.encoder(batch.pixels.to(generator.device)), dim=-1).flatten(0, 1)
            for batch in batches(self.stream, batch_size, 0, -(-wanted // batch_size), workers=0)
        ]
        centres = spherical_kmeans(torch.cat(features), config.codebook_size, generator)
        for tokenizer in (self.tokenizer, averaged):
            tokenizer.quantizer.codebook.copy_(centres)
        self.extra["counts_since_reseed"].zero_()

    @torch.no_grad()
    def _reseed(self, optimizer: torch.optim.Optimizer, averaged: nn.Module, generator: torch.Generator) -> None:
        assert isinstance(averaged, SequentialDiffusionTokenizer)
        counts = self.extra["counts_since_reseed"]
        codebook = self.tokenizer.quantizer.codebook
        unused = (counts == 0).to(codebook.device)
        reseed(codebook, unused, self._features, generator)
        averaged.quantizer.codebook[unused] = codebook[unused]
        for moment in ("exp_avg", "exp_avg_sq"):
            optimizer.state[codebook][moment][unused] = 0
        counts.zero_()

    def statistics(self) -> dict[str, float]:
        """Codebook usage and perplexity since the last call; unreadable images met so far."""
        counts = self.extra["counts_since_log"]
        figures = {
            "codebook_usage": usage(counts),
            "codebook_perplexity": perplexity(counts),
            "broken_images": float(len(self.broken)),
        }
        counts.zero_()
        return figures

    def evaluate(self, averaged: nn.Module, picture: Path) -> dict[str, float]:
        """Draw each shown image beside its reconstructions from 1 to K groups; PSNR of the last."""
        assert isinstance(averaged, SequentialDiffusionTokenizer)
        stages = [stage.cpu() for stage in reconstructions(averaged, self.shown)]
        save_image(reconstruction_sheet(self.shown, stages), picture)
        return {"psnr": psnr(stages[-1], self.shown).mean().item()}

    def export(self, averaged: nn.Module, folder: Path) -> None:
        """Write the averaged tokenizer."""
        assert isinstance(averaged, SequentialDiffusionTokenizer)
        averaged.save_pretrained(folder)
        save_recipe(self.recipe, folder / RECIPE)


def stratified_uniform(count: int, generator: torch.Generator) -> Tensor:
    """Numbers in [0, 1), each uniform, one from each of ``count`` equal intervals: a batch covers all times evenly."""
    strata = torch.randperm(count, generator=generator, device=generator.device)
    spread = (strata + torch.rand(count, generator=generator, device=generator.device)) / count
    return spread.clamp(max=1 - 2**-24)  # rounding could reach 1


def train_tokenizer(
    recipe: Recipe, data: str | Path, out: str | Path, *, validation: str | Path | None = None, resume: bool = False
) -> bool:
    """Train a tokenizer; ``out/model`` then holds it.

    Args:
        recipe: sizes and settings.
        data: see ``ImageDataset``.
        out: the run's folder; new or empty, unless resumed.
        validation: images to draw reconstructions of; the training data unless told.
        resume: whether to go on with the run in ``out``.

    Returns:
        Whether training is complete; False if it was interrupted.

    Raises:
        DARError: for data, folder or checkpoint that cannot be used, or a loss that diverged.
    """
    run = RunFolder(Path(out))
    images = ImageDataset(data)
    task = TokenizerTask(recipe, images, ImageDataset(validation, "validation") if validation else images)
    begin(run, recipe, resume=resume)
    return fit(task, recipe.tokenizer_training, run, resume=resume)
