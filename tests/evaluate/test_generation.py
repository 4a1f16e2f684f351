from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dar.errors import DARError
from dar.evaluate.generation import check_count, evaluate_samples
from dar.evaluate.reference import load_reference
from dar.evaluate.statistics import Reference
from dar.features.extractor import Features
from dar.features.inception import Inception
from dar.metrics.confidence import mean_confidence
from dar.metrics.frechet import frechet_confidence, frechet_distance
from dar.metrics.half_samples import recall_confidence
from dar.metrics.inception_score import inception_score
from dar.metrics.precision_recall import precision_and_recall
from dar.report.report import Report
from dar.samples.archive import write_samples
from dar.samples.opening import open_samples
from tests import tiny
from tests.evaluate.animals import Projection

SIZE, COUNT = tiny.TOKENIZER.image_size, 60
CLASSES = tiny.PRIOR.class_names


def uint8_images(count: int = COUNT, seed: int = 1, brightest: int = 256) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    return torch.randint(brightest, (count, 3, SIZE, SIZE), generator=chance).to(torch.uint8)


def written(path: Path, images_B3HW: Tensor, labels: Tensor | None = None) -> Path:
    images = images_B3HW.permute(0, 2, 3, 1).contiguous().numpy()
    wanted = torch.arange(len(images)) % len(CLASSES) if labels is None else labels
    write_samples(path, [images], images.shape, wanted.numpy())
    return path


class InceptionLike(Projection):
    """Goes by Inception's name and has all kinds of features."""

    name, hash = Inception.name, "1" * 64

    def __init__(self) -> None:
        super().__init__()
        self.class_names = ()

    def __call__(self, images_B3HW: Tensor) -> Features:
        found = (images_B3HW.flatten(1).double() / 255 - 0.5) @ self.weight.double()
        return Features(found[:, :4].float(), spatial=found[:, 1:3].float(), logits=found[:, 4:].float())


def reference(path: Path, extractor: Any) -> Reference:
    return load_reference(str(written(path, uint8_images(seed=2, brightest=200))), extractor, SIZE)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Reference, Reference]:
    folder = tmp_path_factory.mktemp("samples")
    samples = open_samples(written(folder / "samples.npz", uint8_images()))
    spaces = [
        (extractor, reference(folder / f"{extractor.name}.npz", extractor))
        for extractor in (InceptionLike(), Projection())
    ]
    result = evaluate_samples(
        samples, spaces, folder / "work", model_info={"model": "m"}, class_names=CLASSES, batch_size=7
    )
    report, pictures = result.report, result.pictures
    assert set(pictures) == {"Samples"}
    return report, spaces[0][1], spaces[1][1]


def test_each_space_has_its_metrics(found: tuple[Report, Reference, Reference]) -> None:
    figures = found[0].metrics
    assert set(figures["inception-2015"]) == {"fid", "sfid", "inception_score", "precision", "recall"}
    assert set(figures["projection"]) == {"frechet_distance", "precision", "recall", "class_accuracy"}


def test_figures_are_those_of_the_metrics(found: tuple[Report, Reference, Reference]) -> None:
    report, inception, _ = found
    features = InceptionLike()(uint8_images())
    assert features.spatial is not None
    assert features.logits is not None
    of_inception = {name: estimate.value for name, estimate in report.metrics["inception-2015"].items()}
    pooled = features.pooled.double()
    fid = frechet_distance(pooled.mean(0), pooled.T.cov(), inception.mean, inception.covariance)
    assert of_inception["fid"] == pytest.approx(fid, rel=1e-6)
    spatial = features.spatial.double()
    assert inception.spatial_mean is not None
    assert inception.spatial_covariance is not None
    sfid = frechet_distance(spatial.mean(0), spatial.T.cov(), inception.spatial_mean, inception.spatial_covariance)
    assert of_inception["sfid"] == pytest.approx(sfid, rel=1e-6)
    assert of_inception["inception_score"] == pytest.approx(inception_score(features.logits), rel=1e-6)
    covered = precision_and_recall(features.pooled, inception.pooled)
    assert (of_inception["precision"], of_inception["recall"]) == (covered.precision, covered.recall)
    logits = Projection()(uint8_images()).logits
    assert logits is not None
    right = (logits.argmax(1) == torch.arange(COUNT) % len(CLASSES)).double().mean().item()
    assert report.metrics["projection"]["class_accuracy"].value == pytest.approx(right)


def test_intervals_are_those_of_the_metrics(found: tuple[Report, Reference, Reference]) -> None:
    report, inception, _ = found
    figures = report.metrics["inception-2015"]
    rows, chance = InceptionLike()(uint8_images()).pooled, torch.Generator().manual_seed(0)
    low, high = frechet_confidence(rows, inception.mean, inception.covariance, chance)
    assert (figures["fid"].low, figures["fid"].high) == (pytest.approx(low), pytest.approx(high))
    covered = precision_and_recall(rows, inception.pooled).samples_covered
    assert (figures["precision"].low, figures["precision"].high) == mean_confidence(covered)
    low, high = recall_confidence(rows, inception.pooled, torch.Generator().manual_seed(0))
    assert (figures["recall"].low, figures["recall"].high) == (pytest.approx(low), pytest.approx(high))
    score = figures["inception_score"]
    assert score.low is not None
    assert score.high is not None
    assert 0 < score.high - score.low < score.value


def test_the_protocol_tells_what_must_be_equal(found: tuple[Report, Reference, Reference]) -> None:
    report, inception, _ = found
    assert report.protocol["num"] == COUNT
    assert report.protocol["spaces"]["inception-2015"]["reference"]["sha256"] == inception.hash
    assert report.protocol["spaces"]["projection"]["extractor"]["sha256"] == Projection.hash
    assert report.subject["model"] == "m"


def test_labels_are_matched_by_name(tmp_path: Path) -> None:
    shuffled = Projection(class_names=("sea_lion", "cat", "great dane"))
    report = measured(tmp_path, extractor=shuffled)
    logits = Projection()(uint8_images()).logits
    assert logits is not None
    places = torch.tensor([1, 2, 0])[torch.arange(COUNT) % 3]
    expected = (logits.argmax(1) == places).double().mean().item()
    assert report.metrics["projection"]["class_accuracy"].value == pytest.approx(expected)


def measured(folder: Path, extractor: Any = None, images: Tensor | None = None, **settings: Any) -> Report:
    extractor = extractor or Projection()
    samples = open_samples(written(folder / "samples.npz", uint8_images() if images is None else images))
    spaces = [(extractor, reference(folder / "real.npz", extractor))]
    settings = {"model_info": {}, "class_names": CLASSES} | settings
    return evaluate_samples(samples, spaces, folder / "work", **settings).report


def test_a_classifier_of_other_things_tells_no_accuracy(tmp_path: Path) -> None:
    others = Projection(class_names=("oak", "elm", "yew"))
    assert "class_accuracy" not in measured(tmp_path, extractor=others).metrics["projection"]


def test_a_classifier_that_lacks_a_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DARError, match=r"does not know the classes sea_lion"):
        measured(tmp_path, extractor=Projection(class_names=("cat", "great dane", "whale")))


def test_labels_without_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DARError, match="label 2, but only 2 classes"):
        measured(tmp_path, class_names=CLASSES[:2])


def test_too_few_samples_are_refused_with_the_number_that_is_needed() -> None:
    with pytest.raises(DARError, match=r"39 samples are too few .* at least 40 are needed"):
        check_count(39, Projection(), SIZE)
    check_count(40, Projection(), SIZE)

    class Wide(Projection):
        def __call__(self, images_B3HW: Tensor) -> Features:
            return Features(torch.zeros(len(images_B3HW), 70), spatial=torch.zeros(len(images_B3HW), 90))

    with pytest.raises(DARError, match=r"in the 90 dimensions of projection: at least 91 are needed"):
        check_count(90, Wide(), SIZE)
    check_count(91, Wide(), SIZE)


def test_too_few_samples_are_refused_before_they_are_looked_at(tmp_path: Path) -> None:
    with pytest.raises(DARError, match="30 samples are too few"):
        measured(tmp_path, images=uint8_images(30))
    assert not (tmp_path / "work").exists()


def test_the_report_names_the_reference(found: tuple[Report, Reference, Reference]) -> None:
    report, inception, projection = found
    assert report.subject["references"] == {"inception-2015": inception.source, "projection": projection.source}


def test_samples_that_all_look_the_same_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DARError, match="all samples look the same to projection"):
        measured(tmp_path, images=uint8_images(1).expand(COUNT, -1, -1, -1))


def test_samples_of_the_reference_itself_are_at_no_distance(tmp_path: Path) -> None:
    figures = measured(tmp_path, images=uint8_images(seed=2, brightest=200)).metrics["projection"]
    assert figures["frechet_distance"].value == pytest.approx(0, abs=1e-6)
    assert figures["precision"].value == figures["recall"].value == 1


def test_batches_of_another_size_change_nothing(tmp_path: Path) -> None:
    first, second = (measured(tmp_path / str(size), batch_size=size) for size in (3, 64))
    assert first.metrics == second.metrics


def test_samples_that_are_not_square_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DARError, match="squares"):
        measured(tmp_path, images=uint8_images()[:, :, :8])
    assert np.load(tmp_path / "samples.npz")["arr_0"].shape == (COUNT, 8, SIZE, 3)


def test_a_reference_of_mean_and_covariance_alone_gives_the_fid(tmp_path: Path) -> None:
    whole = InceptionLike()(uint8_images(seed=2)).pooled.double()
    np.savez(tmp_path / "fid_stats.npz", mu=whole.mean(0).numpy(), sigma=whole.T.cov().numpy())
    extractor = InceptionLike()
    alone = load_reference(str(tmp_path / "fid_stats.npz"), extractor, uint8_images().shape[-1])
    samples = open_samples(written(tmp_path / "s.npz", uint8_images()))
    report = evaluate_samples(samples, [(extractor, alone)], tmp_path / "work", model_info={}).report
    assert set(report.metrics[Inception.name]) == {"fid", "inception_score"}
