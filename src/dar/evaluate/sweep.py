"""Guidance against quality: the same samples at several guidance scales and schedules."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from dar.errors import DARError
from dar.evaluate.feature_store import FEATURES
from dar.evaluate.generation import evaluate_samples
from dar.evaluate.run import EvaluationResult, with_environment
from dar.evaluate.statistics import Reference
from dar.features.extractor import Extractor
from dar.pipeline import DARPipeline
from dar.prior.guidance import Guidance
from dar.report.report import Curve, Estimate, Point, Report, metric_named
from dar.samples.job import sample
from dar.samples.opening import open_samples
from dar.samples.sampling import SampleSettings, identity

TRADE_OFFS = (
    ("inception_score", "fid"),
    ("recall", "precision"),
    ("class_accuracy", "frechet_distance"),
)
"""Metrics to draw against each other, where a space has both: x and y."""


@with_environment
def evaluate_sweep(
    pipe: DARPipeline,
    settings: SampleSettings,
    scales: Sequence[Guidance],
    spaces: Sequence[tuple[Extractor, Reference]],
    work: Path,
    *,
    model_info: dict[str, Any],
    batch_size: int = 64,
) -> EvaluationResult:
    """Sample with each guidance and compare all with the same reference; image i has the same seed in each.

    Args:
        pipe: the model.
        settings: of the samples, but for the guidance.
        scales: guidance, one a point of the curves.
        spaces: extractors, each with the reference as it sees it.
        work: folder for samples and features; what an interrupted sweep left there is used.
        model_info: for the report, beside hashes: the model's name, its recipe; JSON values.
        batch_size: images to look at together.

    Returns:
        The report, and a sheet of the first samples for each guidance.

    Raises:
        DARError: as of ``sample`` and ``evaluate_samples``.
    """
    if len({guidance_name(scale) for scale in scales}) < len(scales):
        raise DARError("a guidance was given twice, or two differ beyond six digits: give each once")
    metrics: dict[str, dict[str, Estimate]] = {}
    pictures: dict[str, Image.Image] = {}
    protocol: dict[str, Any] = {}
    samples: dict[str, str] = {}
    for scale in scales:
        name = guidance_name(scale)
        path = samples_of(work, scale)
        sample(pipe, _with_guidance(settings, scale), path)
        result = evaluate_samples(
            open_samples(path),
            spaces,
            work / FEATURES / path.parent.name,
            model_info={},
            class_names=pipe.prior.config.class_names,
            batch_size=batch_size,
        )
        metrics |= {f"{space}, {name}": found for space, found in result.report.metrics.items()}
        pictures |= {f"{title}, {name}": picture for title, picture in result.pictures.items()}
        protocol = result.report.protocol
        samples[name] = result.report.subject["samples"]["sha256"]
    curves = tuple(curve for extractor, _ in spaces for curve in _trade_offs(extractor.name, scales, metrics))
    sampled = {name: value for name, value in identity(pipe, settings).items() if name != "guidance_scale"}
    references = {extractor.name: reference.source for extractor, reference in spaces}
    subject = {
        **model_info,
        "references": references,
        "guidance": [guidance_name(scale) for scale in scales],
        "settings": sampled,
        "samples_sha256": samples,
    }
    return EvaluationResult(Report("sweep", subject, protocol, metrics, curves), pictures)


def _with_guidance(settings: SampleSettings, guidance: Guidance) -> SampleSettings:
    return replace(settings, generation=replace(settings.generation, guidance_scale=guidance))


def _trade_offs(space: str, scales: Sequence[Guidance], metrics: dict[str, dict[str, Estimate]]) -> list[Curve]:
    """Plot one metric against another, for each pair that the space has: over constant scales, and over schedules."""
    kinds = {
        "constant": sorted((scale for scale in scales if scale.is_constant), key=lambda scale: scale.start),
        "linear": [scale for scale in scales if not scale.is_constant],
    }
    found = {scale: metrics[f"{space}, {guidance_name(scale)}"] for scale in scales}
    return [
        Curve(
            title=f"{metric_named(y).title} against {metric_named(x).title}, {space}",
            x_name=metric_named(x).title,
            y_name=metric_named(y).title,
            points=tuple(
                Point(found[scale][x].value, found[scale][y].value, guidance_name(scale).removeprefix("guidance "))
                for scale in alike
            ),
            name=kind,
        )
        for x, y in TRADE_OFFS
        for kind, alike in kinds.items()
        if alike and x in found[alike[0]] and y in found[alike[0]]
    ]


def samples_of(work: Path, scale: Guidance) -> Path:
    """Name the file of samples of one guidance."""
    return work / guidance_name(scale).replace(":", "-").replace(" ", "-") / "samples.npz"


def guidance_name(scale: Guidance) -> str:
    """Name a guidance: "guidance 3", or "guidance 1:3" for one that is linear over the tokens."""
    return f"guidance {scale}"
