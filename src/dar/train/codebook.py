"""Keeping the codebook alive: fitting it to data at the start, and re-seeding what falls out of use."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dar.data import ImageStream
from dar.metrics.codebook import perplexity, usage
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.tokenizer.output import TokenizerOutput
from dar.train.alignment import tokenizer_in
from dar.train.distributed import Distributed
from dar.train.recipe import TokenizerTraining

KMEANS_ROUNDS = 10
FITTED_LATENTS_PER_CODE = 32


def spherical_kmeans(latents_MC: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Cluster unit latents by k-means on the sphere: M x C -> count x C unit centres.

    Clusters that become empty start again at a random feature.
    """

    def random_latents() -> Tensor:
        chosen = torch.randint(len(latents_MC), (count,), generator=generator, device=latents_MC.device)
        return latents_MC[chosen]

    centres = random_latents()
    for _ in range(KMEANS_ROUNDS):
        nearest = (latents_MC @ centres.T).argmax(-1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, latents_MC)
        occupied = torch.bincount(nearest, minlength=count) > 0
        centres = torch.where(occupied[:, None], F.normalize(sums, dim=-1), random_latents())
    return centres


def reseed(codebook_VC: Tensor, unused_V: Tensor, latents_MC: Tensor, generator: torch.Generator) -> None:
    """Put random encoder outputs in the place of unused entries.

    Args:
        codebook_VC: changed in place.
        unused_V: boolean, which entries to replace.
        latents_MC: encoder outputs, at unit length.
        generator: chooses among them.
    """
    chosen = torch.randint(len(latents_MC), (int(unused_V.sum()),), generator=generator, device=latents_MC.device)
    codebook_VC[unused_V] = latents_MC[chosen].to(codebook_VC.dtype)


class CodebookUpkeep:
    """Counts the codes in use, fits the codebook when the continuous phase ends, and later re-seeds unused codes.

    Args:
        tokenizer: in training.
        settings: of the training.
        stream: of its images, which the codebook is fitted to.
        distributed: the processes, whose codes are counted together.

    Attributes:
        counts: how often each code was used, int64, since the last re-seeding and since the last line of the log; a
            checkpoint keeps them.
    """

    def __init__(
        self,
        tokenizer: SequentialDiffusionTokenizer,
        settings: TokenizerTraining,
        stream: ImageStream,
        distributed: Distributed,
    ) -> None:
        self.tokenizer, self.settings, self.stream, self.distributed = tokenizer, settings, stream, distributed
        codes, device = tokenizer.config.codebook_size, distributed.device
        self.counts = {
            "counts_since_reseed": torch.zeros(codes, dtype=torch.int64, device=device),
            "counts_since_log": torch.zeros(codes, dtype=torch.int64, device=device),
        }
        self._codes: list[Tensor] = []
        self._latents: list[Tensor] = []

    def note(self, output: TokenizerOutput) -> None:
        """Keep the codes and latents of one micro-batch until the step ends."""
        self._codes.append(output.codes.flatten())
        self._latents.append(output.latents.detach().flatten(0, 1))

    def after_step(
        self, optimizer: torch.optim.Optimizer, averaged: nn.Module, step: int, generator: torch.Generator
    ) -> None:
        """Count the codes of all processes; fit or re-seed the codebook where the step number calls for it."""
        own = torch.bincount(torch.cat(self._codes), minlength=self.tokenizer.config.codebook_size)
        used = self.distributed.all_reduce_sum(own)
        for counts in self.counts.values():
            counts += used
        latents = torch.cat(self._latents)
        self._codes, self._latents = [], []
        quantised_steps = step + 1 - self.settings.continuous_steps
        interval = self.settings.reseed_steps
        if quantised_steps == 0:
            self._fit(averaged, generator)
        elif quantised_steps > 0 and interval and quantised_steps % interval == 0 and self.settings.train == "all":
            self._reseed(optimizer, averaged, self.distributed.gather(latents), generator)

    def statistics(self) -> dict[str, float]:
        """Compute codebook usage and perplexity since the last call."""
        counts = self.counts["counts_since_log"]
        found = {"codebook_usage": usage(counts), "codebook_perplexity": perplexity(counts)}
        counts.zero_()
        return found

    @torch.no_grad()
    def _fit(self, averaged: nn.Module, generator: torch.Generator) -> None:
        config, batch_size = self.tokenizer.config, self.settings.batch_size
        wanted = -(-FITTED_LATENTS_PER_CODE * config.codebook_size // config.num_tokens)
        latents = [
            F.normalize(self.tokenizer.encoder(batch.pixels.to(generator.device)), dim=-1).flatten(0, 1)
            for batch in self.stream.batches(batch_size, 0, -(-wanted // batch_size), workers=0)
        ]
        centres = self.distributed.broadcast(spherical_kmeans(torch.cat(latents), config.codebook_size, generator))
        for tokenizer in (self.tokenizer, tokenizer_in(averaged)):
            tokenizer.quantizer.codebook.copy_(centres)
        self.counts["counts_since_reseed"].zero_()

    @torch.no_grad()
    def _reseed(
        self, optimizer: torch.optim.Optimizer, averaged: nn.Module, latents: Tensor, generator: torch.Generator
    ) -> None:
        counts, codebook = self.counts["counts_since_reseed"], self.tokenizer.quantizer.codebook
        unused = (counts == 0).to(codebook.device)
        reseed(codebook, unused, latents, generator)
        tokenizer_in(averaged).quantizer.codebook[unused] = codebook[unused]
        for moment in ("exp_avg", "exp_avg_sq"):
            optimizer.state[codebook][moment][unused] = 0
        counts.zero_()
