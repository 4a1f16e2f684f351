"""How well a tokenizer keeps images, as a function of the number of token groups decoded."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dar.data import ImageDataset
from dar.data.crops import CroppedImages
from dar.dtypes import plain_name
from dar.errors import DARError
from dar.evaluate.gallery import GALLERY_ROWS, Gallery
from dar.evaluate.labelled_images import LARGEST_DECIBELS, LabelledImages, saved_uint8
from dar.evaluate.paired_features import PairedFeatures
from dar.evaluate.run import EvaluationResult, with_environment
from dar.features.extractor import Extractor
from dar.features.perceptual import PerceptualDistance
from dar.images import from_uint8
from dar.metrics.codebook import perplexity, usage
from dar.metrics.similarity import psnr, ssim
from dar.progress import progress_bar
from dar.reconstruction import decoded_groups
from dar.report.report import Curve, Estimate, Point, Report, mean_estimate
from dar.solvers import DEFAULT_SOLVER
from dar.storage import weights_hash
from dar.tokenizer import SequentialDiffusionTokenizer

LEAST_SIDE = 16
"""Pixels below which LPIPS has no features."""

Measure = Callable[[Tensor, Tensor], Tensor]
"""Images and references, B x 3 x H x W in [-1, 1] -> B."""

Spaces = dict[str, dict[str, list[Estimate]]]
"""By space and metric: an estimate for each number of groups, 1 to K."""


@with_environment
def evaluate_reconstruction(
    tokenizer: SequentialDiffusionTokenizer,
    data: ImageDataset,
    *,
    model_info: dict[str, Any] | None = None,
    extractor: Extractor | None = None,
    perceptual: PerceptualDistance | None = None,
    count: int | None = None,
    seed: int = 0,
    steps: int | None = None,
    solver: str = DEFAULT_SOLVER,
    batch_size: int = 32,
    workers: int = 0,
) -> EvaluationResult:
    """Measure reconstructions from the first 1, 2, ... and all K token groups of images.

    Every metric sees what a saved picture would hold: central squares, and reconstructions rounded to the nearest of
    256 levels. PSNR, SSIM and LPIPS are means over images, rFID is the Fréchet distance between pooled features of
    originals and of their reconstructions, usage and perplexity are of the codes in the groups decoded. Intervals are
    closed-form ones of means; for rFID of all groups a jackknife that leaves out images with their reconstructions,
    where there are 40 images or more.

    Memory does not grow with the number of images, but for features (8 bytes a dimension and image) and values of
    metrics (24 bytes a group and image).

    Args:
        tokenizer: the model.
        data: the images.
        model_info: of the tokenizer, for the report, beside its hash: its name, its recipe; JSON values.
        extractor: for rFID; without it that is not measured.
        perceptual: LPIPS, on the tokenizer's device; without it that is not measured.
        count: images, drawn from all over the data; None means all.
        seed: image i of the data is decoded from the noise of seed + i, whatever else is measured.
        steps: denoising steps; None means the tokenizer's default.
        solver: "adams-bashforth-2" or "euler".
        batch_size: images computed at a time; changes nothing but rounding.
        workers: processes that decode images ahead; 0 decodes in this one.

    Returns:
        The report, and sheets of the worst and the best reconstructions (by PSNR) and of a spread, by title. A row is
        the original, then its first 1, 2, ... and all groups decoded.

    Raises:
        DARError: if there are fewer images than asked for, fewer than two, too many broken ones; if images are too
            small for a metric; or if the model gives or an extractor finds something that is not a finite number.
    """
    images = LabelledImages(data, tokenizer.config.image_size, count)
    measured = _Accumulator(tokenizer, extractor, perceptual, images)
    with progress_bar(len(images.indices), desc="reconstructing") as bar:
        for batch in images.batches(batch_size, workers, bar):
            originals = batch.images.to(tokenizer.device)
            tokens = tokenizer.encode(from_uint8(originals))
            stages = decoded_groups(tokenizer, tokens, [seed + i for i in batch.indices], steps, solver)
            measured.add(batch, originals, tokens, saved_uint8(torch.stack(stages)))
    spaces = measured.spaces(torch.Generator().manual_seed(seed))
    report = Report(
        kind="reconstruction",
        subject={
            **(model_info or {}),
            **_settings(tokenizer, steps, solver, seed),
            "images": images.description(),
        },
        protocol=_protocol(images, extractor, perceptual),
        metrics={space: {name: groups[-1] for name, groups in of.items()} for space, of in spaces.items()},
        curves=tuple(_curves(spaces)),
    )
    return EvaluationResult(report, measured.gallery.sheets())


def _check_size(image_size: int) -> None:
    """Make sure that LPIPS has features of images of this size."""
    if image_size < LEAST_SIDE:
        raise DARError(
            f"LPIPS needs images of at least {LEAST_SIDE} x {LEAST_SIDE} pixels, and this tokenizer's have "
            f"{image_size}: leave it out"
        )


def _settings(tokenizer: SequentialDiffusionTokenizer, steps: int | None, solver: str, seed: int) -> dict[str, Any]:
    return {
        "tokenizer": weights_hash(tokenizer),
        "dtype": plain_name(tokenizer.dtype),
        "groups": tokenizer.config.num_groups,
        "steps": tokenizer.config.num_steps if steps is None else steps,
        "solver": solver,
        "seed": seed,
    }


def _protocol(
    images: LabelledImages, extractor: Extractor | None, perceptual: PerceptualDistance | None
) -> dict[str, Any]:
    return {
        "images": images.protocol(),
        "rounding": "nearest of 256 levels",
        "largest_psnr": LARGEST_DECIBELS,
        "ssim": "Gaussian window of 11 x 11 pixels, colours apart",
        "extractors": {extractor.name: extractor.hash} if extractor else {},
        "lpips": weights_hash(perceptual) if perceptual else None,
    }


def _curves(spaces: Spaces) -> list[Curve]:
    return [
        Curve(
            title=f"{_AXES[metric]} by groups decoded",
            x_name="groups decoded",
            y_name=_AXES[metric],
            points=tuple(Point(k, estimate.value) for k, estimate in enumerate(by_groups, start=1)),
            name=space if metric == "rfid" else "",
        )
        for space, metrics in spaces.items()
        for metric, by_groups in metrics.items()
    ]


_AXES = {
    "psnr": "PSNR in dB",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "rfid": "rFID",
    "codebook_usage": "codebook usage",
    "codebook_perplexity": "codebook perplexity",
}


class _Accumulator:
    """Measures batches of reconstructions, and keeps the pictures to show."""

    def __init__(
        self,
        tokenizer: SequentialDiffusionTokenizer,
        extractor: Extractor | None,
        perceptual: PerceptualDistance | None,
        images: LabelledImages,
    ) -> None:
        self.config, count = tokenizer.config, len(images.indices)
        self.measures: dict[str, Measure] = {"psnr": _finite_psnr, "ssim": ssim}
        if perceptual is not None:
            _check_size(self.config.image_size)
            self.measures["lpips"] = perceptual
        groups = self.config.num_groups
        self.count = 0
        self.values = {name: torch.empty(groups, count, dtype=torch.float64) for name in self.measures}
        self.codes_KV = torch.zeros(groups, self.config.codebook_size, dtype=torch.int64)
        self.features = PairedFeatures(extractor, count) if extractor else None
        self.gallery = Gallery(images.preview_indices(GALLERY_ROWS))

    def add(self, batch: CroppedImages, originals: Tensor, tokens: Tensor, decoded: Tensor) -> None:
        """Measure B images: B x 3 x H x W and K x B x 3 x H x W uint8, and B x N tokens."""
        pixels = from_uint8(originals)
        start, self.count = self.count, self.count + len(originals)
        for name, measure in self.measures.items():
            for k, images in enumerate(decoded):
                self.values[name][k, start : self.count] = measure(from_uint8(images), pixels)
        for counts_V, codes in zip(self.codes_KV, tokens.cpu().split(self.config.tokens_per_group, dim=1), strict=True):
            counts_V += codes.flatten().bincount(minlength=self.config.codebook_size)
        if self.features is not None:
            self.features.add(originals, decoded)
        decibels = self.values["psnr"][-1, start : self.count].tolist()
        self.gallery.add(decibels, batch.indices, torch.cat([originals[None], decoded]).cpu())

    def spaces(self, generator: torch.Generator) -> Spaces:
        """Compute all metrics for each number of groups."""
        means = {
            name: [mean_estimate(one_N) for one_N in of_KN[:, : self.count]] for name, of_KN in self.values.items()
        }
        counts_KV = self.codes_KV.cumsum(0)
        spaces: Spaces = {"pixels": {name: means[name] for name in ("psnr", "ssim")}}
        if "lpips" in means:
            spaces["lpips"] = {"lpips": means["lpips"]}
        if self.features is not None:
            spaces[self.features.extractor.name] = {"rfid": self.features.rfid(generator)}
        spaces["codebook"] = {
            "codebook_usage": [Estimate(usage(counts_V)) for counts_V in counts_KV],
            "codebook_perplexity": [Estimate(perplexity(counts_V)) for counts_V in counts_KV],
        }
        return spaces


def _finite_psnr(images: Tensor, references: Tensor) -> Tensor:
    return psnr(images, references).clamp(max=LARGEST_DECIBELS)
