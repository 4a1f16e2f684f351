import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dar.data import ImageDataset
from dar.errors import DARError
from dar.evaluate.labelled_images import LabelledImages
from dar.evaluate.reconstruction import evaluate_reconstruction
from dar.evaluate.run import EvaluationResult
from dar.features.perceptual import PerceptualDistance
from dar.images import centre_crop, to_images, to_pixels
from dar.metrics.frechet import frechet_distance
from dar.metrics.similarity import psnr, ssim
from dar.report.report import Estimate, Report
from dar.storage import weights_hash
from dar.tokenizer import SequentialDiffusionTokenizer
from tests import tiny
from tests.evaluate.animals import Projection, photo, photo_folder, white_folder, white_tokenizer
from tests.features.test_perceptual import linear, vgg  # noqa: F401 (fixtures)
from tests.on_sheets import positions

COUNT, GROUPS = 48, 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    return ImageDataset(photo_folder(tmp_path_factory.mktemp("animals"), COUNT // 3))


@pytest.fixture(scope="module")
def found(tokenizer: SequentialDiffusionTokenizer, data: ImageDataset) -> EvaluationResult:
    return evaluate_reconstruction(tokenizer, data, extractor=Projection(), seed=7, batch_size=20)


@pytest.fixture(scope="module")
def pairs(tokenizer: SequentialDiffusionTokenizer) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """All images, and what was saved of their first 1 to 4 groups, one decoding each."""
    originals = to_pixels([centre_crop(photo(i), 16) for i in range(COUNT)])
    tokens = tokenizer.encode(originals)
    decoded = [tokenizer.decode(tokens[:, : 2 * k], seed=7, num_tokens=2 * k) for k in range(1, GROUPS + 1)]
    return originals, [to_pixels(to_images(pixels)) for pixels in decoded]


def curve(report: Report, axis: str) -> list[float]:
    (found,) = [one for one in report.curves if one.y_name == axis]
    assert [point.x for point in found.points] == [1, 2, 3, 4]
    return [point.y for point in found.points]


def test_means_are_of_pictures_as_saved(
    found: tuple[Report, object], pairs: tuple[torch.Tensor, list[torch.Tensor]]
) -> None:
    report, (originals, decoded) = found.report, pairs
    for metric, measure, axis in (("psnr", psnr, "PSNR in dB"), ("ssim", ssim, "SSIM")):
        values = [measure(pixels, originals).double() for pixels in decoded]
        # A value within rounding of two levels may fall on either side in another batch.
        assert curve(report, axis) == pytest.approx([value.mean().item() for value in values], abs=1e-3)
        estimate = report.metrics["pixels"][metric]
        half = 1.96 * values[-1].std().item() / math.sqrt(COUNT)
        assert estimate.value == curve(report, axis)[-1]
        assert (estimate.low, estimate.high) == pytest.approx((estimate.value - half, estimate.value + half), abs=1e-3)


def test_rfid_is_the_frechet_distance_of_features(
    found: tuple[Report, object], pairs: tuple[torch.Tensor, list[torch.Tensor]]
) -> None:
    def gaussian(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        images = (127.5 * pixels + 128).to(torch.uint8)
        rows = Projection()(images).pooled.double()
        return rows.mean(0), rows.T.cov()

    report, (originals, decoded) = found.report, pairs
    expected = [frechet_distance(*gaussian(originals), *gaussian(pixels)) for pixels in decoded]
    assert curve(report, "rFID") == pytest.approx(expected, rel=1e-3)
    estimate = report.metrics["projection"]["rfid"]
    assert estimate.value == curve(report, "rFID")[-1]
    assert estimate.low is not None
    assert estimate.high is not None
    assert 0 <= estimate.low < estimate.value < estimate.high


def test_usage_and_perplexity_are_of_the_codes_decoded(
    tokenizer: SequentialDiffusionTokenizer,
    found: tuple[Report, object],
    pairs: tuple[torch.Tensor, list[torch.Tensor]],
) -> None:
    tokens = tokenizer.encode(pairs[0]).numpy()
    usages, perplexities = [], []
    for k in range(1, GROUPS + 1):
        _, counts = np.unique(tokens[:, : 2 * k], return_counts=True)
        shares = counts / counts.sum()
        usages.append(len(counts) / 32)
        perplexities.append(np.exp(-(shares * np.log(shares)).sum()))
    assert curve(found.report, "codebook usage") == pytest.approx(usages)
    assert curve(found.report, "codebook perplexity") == pytest.approx(perplexities)
    assert found.report.metrics["codebook"]["codebook_usage"] == Estimate(pytest.approx(usages[-1]))


def test_batch_size_and_workers_change_nothing_but_rounding(
    tokenizer: SequentialDiffusionTokenizer, data: ImageDataset, found: tuple[Report, object]
) -> None:
    again = evaluate_reconstruction(tokenizer, data, extractor=Projection(), seed=7, batch_size=7, workers=1).report
    assert again.protocol == found.report.protocol
    assert again.subject == found.report.subject
    for axis in ("PSNR in dB", "SSIM", "rFID", "codebook usage", "codebook perplexity"):
        assert curve(again, axis) == pytest.approx(curve(found.report, axis), rel=1e-3)


def test_an_image_is_measured_alike_among_fewer(
    tokenizer: SequentialDiffusionTokenizer, data: ImageDataset, pairs: tuple[torch.Tensor, list[torch.Tensor]]
) -> None:
    result = evaluate_reconstruction(tokenizer, data, count=3, seed=7, batch_size=2)
    report, pictures = result.report, result.pictures
    originals, decoded = pairs
    drawn = LabelledImages(data, 16, 3).indices
    expected = psnr(decoded[-1][drawn], originals[drawn]).mean().item()
    assert report.metrics["pixels"]["psnr"].value == pytest.approx(expected, abs=1e-2)
    assert report.protocol["images"]["count"] == 3
    assert set(report.metrics) == {"pixels", "codebook"}
    assert len(pictures) == 3
    assert all(len(positions(sheet, centre_crop(photo(i), 16))) == 1 for sheet in pictures.values() for i in drawn)


def test_sheets_show_the_extremes(
    data: ImageDataset, found: EvaluationResult, pairs: tuple[torch.Tensor, list[torch.Tensor]]
) -> None:
    originals, decoded = pairs
    order = psnr(decoded[-1], originals).argsort().tolist()
    chosen = {
        "Worst": order[:8],
        "Best": order[:-9:-1],
        "A spread of": sorted(LabelledImages(data, 16, COUNT).preview_indices(8)),
    }
    for title, indices in chosen.items():
        sheet = found.pictures[f"{title} reconstructions"]
        tops = [positions(sheet, centre_crop(photo(index), 16))[0][1] for index in indices]
        assert tops == sorted(set(tops))


def test_lpips_is_measured_where_there_are_weights(
    tokenizer: SequentialDiffusionTokenizer,
    data: ImageDataset,
    pairs: tuple[torch.Tensor, list[torch.Tensor]],
    vgg: dict[str, torch.Tensor],  # noqa: F811
    linear: dict[str, torch.Tensor],  # noqa: F811
) -> None:
    distance = PerceptualDistance(vgg | linear)
    report = evaluate_reconstruction(tokenizer, data, perceptual=distance, count=3, seed=7).report
    originals, decoded = pairs
    drawn = LabelledImages(data, 16, 3).indices
    expected = [distance(pixels[drawn], originals[drawn]).mean().item() for pixels in decoded]
    assert curve(report, "LPIPS") == pytest.approx(expected, rel=1e-2)
    assert report.metrics["lpips"]["lpips"].value == curve(report, "LPIPS")[-1]
    assert report.protocol["lpips"] == weights_hash(distance)


def test_the_protocol_holds_what_must_be_equal_and_the_subject_the_rest(
    tokenizer: SequentialDiffusionTokenizer, data: ImageDataset, found: tuple[Report, object], tmp_path: Path
) -> None:
    report = found.report
    assert report.kind == "reconstruction"
    assert report.protocol["extractors"] == {"projection": "0" * 64}
    assert report.subject["tokenizer"] == weights_hash(tokenizer)
    elsewhere = ImageDataset(photo_folder(tmp_path / "copy", COUNT // 3))
    other = evaluate_reconstruction(
        tokenizer, elsewhere, extractor=Projection(), steps=1, solver="euler", seed=8
    ).report
    assert other.protocol == report.protocol
    assert (other.subject["steps"], other.subject["solver"], other.subject["seed"]) == (1, "euler", 8)
    fewer = evaluate_reconstruction(tokenizer, data, extractor=Projection(), count=COUNT - 1).report
    assert fewer.protocol["images"] != report.protocol["images"]


def test_broken_images_are_left_out_and_told(
    tokenizer: SequentialDiffusionTokenizer, tmp_path: Path, pairs: tuple[torch.Tensor, list[torch.Tensor]]
) -> None:
    folder = photo_folder(tmp_path / "animals", 2)
    (folder / "cat" / "001.png").write_bytes(b"no image")
    report = evaluate_reconstruction(tokenizer, ImageDataset(folder), seed=7, batch_size=1).report
    (said,) = report.subject["images"]["broken"]
    assert "001.png" in said
    assert report.protocol["images"]["count"] == 5
    whole = [0, 2, 3, 4, 5]
    expected = psnr(pairs[1][-1][whole], pairs[0][whole]).mean().item()
    assert report.metrics["pixels"]["psnr"].value == pytest.approx(expected, abs=1e-2)


def test_data_that_cannot_be_read_are_refused(tokenizer: SequentialDiffusionTokenizer, tmp_path: Path) -> None:
    folder = photo_folder(tmp_path / "animals", 1)
    for path in list(folder.rglob("*.png"))[1:]:
        path.write_bytes(b"no image")
    with pytest.raises(DARError, match=r"fewer than 2 of 3 images of .* can be read; first: .*png"):
        evaluate_reconstruction(tokenizer, ImageDataset(folder))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"count": COUNT + 1}, rf"holds {COUNT} images, not {COUNT + 1}: ask for {COUNT} or fewer"),
        ({"count": 1}, "measure at least 2"),
        ({"count": 0}, "measure at least 2"),
        ({"seed": -1}, "a seed must lie between"),
        ({"steps": 0}, "at least 1 denoising step"),
        ({"solver": "heun"}, "there is no solver 'heun'"),
    ],
)
def test_what_cannot_be_is_refused(
    tokenizer: SequentialDiffusionTokenizer, data: ImageDataset, arguments: dict[str, object], complaint: str
) -> None:
    with pytest.raises(DARError, match=complaint):
        evaluate_reconstruction(tokenizer, data, **arguments)


def test_a_model_that_gives_no_numbers_is_refused(data: ImageDataset) -> None:
    broken = tiny.tokenizer()
    with torch.no_grad():
        next(broken.diffusion_decoder.parameters()).fill_(math.nan)
    with pytest.raises(DARError, match="gives images of NaN"):
        evaluate_reconstruction(broken, data, count=2)


def test_perfect_reconstructions_have_finite_figures(tmp_path: Path) -> None:
    data = ImageDataset(white_folder(tmp_path))
    report = evaluate_reconstruction(white_tokenizer(), data, extractor=Projection()).report
    assert report.metrics["pixels"]["psnr"] == Estimate(100.0, 100.0, 100.0)
    assert report.metrics["pixels"]["ssim"].value == pytest.approx(1)
    assert report.metrics["projection"]["rfid"].value == pytest.approx(0)


def test_images_too_small_for_lpips_are_refused_before_anything_is_measured(
    data: ImageDataset,
    vgg: dict[str, torch.Tensor],  # noqa: F811
    linear: dict[str, torch.Tensor],  # noqa: F811
) -> None:
    small = tiny.tokenizer(dataclasses.replace(tiny.TOKENIZER, image_size=8))
    with pytest.raises(DARError, match="LPIPS needs images of at least 16 x 16 pixels, and this tokenizer's have 8"):
        evaluate_reconstruction(small, data, perceptual=PerceptualDistance(vgg | linear))
