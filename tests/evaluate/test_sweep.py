from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from dar.errors import DARError
from dar.evaluate.generation import evaluate_samples
from dar.evaluate.reference import load_reference
from dar.evaluate.sweep import evaluate_sweep, guidance_name
from dar.generation.settings import GenerationSettings
from dar.pipeline import DARPipeline
from dar.prior.guidance import Guidance
from dar.report.report import Report
from dar.samples.job import sample
from dar.samples.opening import open_samples
from dar.samples.sampling import SampleSettings
from dar.storage import weights_hash
from tests import tiny
from tests.evaluate.animals import Projection, photo_folder

SETTINGS = SampleSettings(generation=GenerationSettings(steps=4), num=42, labels="balanced", classes=(0, 1, 2))
SCALES = [Guidance(1.0, 1.0), Guidance(1.0, 4.0)]


@pytest.fixture(scope="module")
def found(
    pipeline: DARPipeline, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Report, dict[str, Image.Image], Path]:
    work = tmp_path_factory.mktemp("sweep")
    real = load_reference(str(photo_folder(work / "photos", 14)), Projection(), tiny.TOKENIZER.image_size)
    result = evaluate_sweep(pipeline, SETTINGS, SCALES, [(Projection(), real)], work, model_info={"model": "tiny"})
    report, pictures = result.report, result.pictures
    return report, pictures, work


@pytest.mark.parametrize("scale", SCALES)
def test_each_point_is_what_sampling_and_measuring_alone_give(
    found: tuple[Report, dict[str, Image.Image], Path],
    pipeline: DARPipeline,
    tmp_path: Path,
    scale: Guidance,
) -> None:
    report, _, work = found
    sample(
        pipeline,
        replace(SETTINGS, generation=replace(SETTINGS.generation, guidance_scale=scale)),
        tmp_path / "samples.npz",
    )
    real = load_reference(str(work / "photos"), Projection(), tiny.TOKENIZER.image_size)
    alone = evaluate_samples(
        open_samples(tmp_path / "samples.npz"),
        [(Projection(), real)],
        tmp_path / "features",
        model_info={},
        class_names=tiny.PRIOR.class_names,
    ).report
    assert report.metrics[f"projection, {guidance_name(scale)}"] == alone.metrics["projection"]


def test_guidance_draws_a_curve_of_fidelity_and_diversity(
    found: tuple[Report, dict[str, Image.Image], Path],
) -> None:
    curves = {(curve.y_name, curve.x_name, curve.name): curve for curve in found[0].curves}
    assert set(curves) == {
        (y, x, name)
        for y, x in (("precision", "recall"), ("Fréchet distance", "class accuracy"))
        for name in ("constant", "linear")
    }
    for name, scale, label in (("constant", SCALES[0], "1"), ("linear", SCALES[1], "1:4")):
        (point,) = curves["precision", "recall", name].points
        figures = found[0].metrics[f"projection, {guidance_name(scale)}"]
        assert (point.x, point.y, point.label) == (figures["recall"].value, figures["precision"].value, label)


def test_the_report_tells_how_all_were_sampled(
    found: tuple[Report, dict[str, Image.Image], Path], pipeline: DARPipeline
) -> None:
    subject = found[0].subject
    assert subject["guidance"] == ["guidance 1", "guidance 1:4"]
    assert subject["settings"]["tokenizer"] == weights_hash(pipeline.tokenizer)
    assert subject["settings"]["num"] == 42
    assert "guidance_scale" not in subject["settings"]
    assert subject["samples_sha256"] == {
        name: open_samples(found[2] / name.replace(" ", "-").replace(":", "-") / "samples.npz").hash
        for name in subject["guidance"]
    }


def test_each_point_shows_its_samples(found: tuple[Report, dict[str, Image.Image], Path]) -> None:
    assert set(found[1]) == {"Samples, guidance 1", "Samples, guidance 1:4"}


def test_images_have_the_same_seeds_at_every_point(found: tuple[Report, dict[str, Image.Image], Path]) -> None:
    first, second = (open_samples(found[2] / name / "samples.npz") for name in ("guidance-1", "guidance-1-4"))
    assert first.labels is not None
    assert second.labels is not None
    assert torch.equal(first.labels, second.labels)


def test_points_that_cannot_be_told_apart_are_refused(pipeline: DARPipeline, tmp_path: Path) -> None:
    with pytest.raises(DARError, match="a guidance was given twice"):
        evaluate_sweep(
            pipeline, SETTINGS, [Guidance(1.0, 1.0), Guidance(1.0000001, 1.0000001)], [], tmp_path, model_info={}
        )
