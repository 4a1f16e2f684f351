import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dar.data import ImageDataset
from dar.errors import DARError
from dar.evaluate.labelled_images import LabelledImages
from dar.evaluate.layout import evaluate_layout
from dar.evaluate.run import EvaluationResult
from dar.features.extractor import Features
from dar.images import centre_crop, to_images, to_pixels
from dar.metrics.similarity import layout_similarity
from dar.pipeline import DARPipeline
from dar.report.report import Estimate, Report
from dar.storage import weights_hash
from tests import tiny
from tests.evaluate.animals import Projection, photo, photo_folder, white_folder, white_tokenizer
from tests.on_sheets import positions

PER_CLASS, SEED = 4, 9
COUNT = 3 * PER_CLASS
SETTINGS: Any = {"guidance_scale": (1.0, 3.0), "temperature": 0.9}
LENGTHS = [0, 2, 5, 8]


class Recorder(Projection):
    """Also remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[torch.Tensor] = []

    def __call__(self, images_B3HW: torch.Tensor) -> Features:
        self.shown.append(images_B3HW)
        return super().__call__(images_B3HW)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    return ImageDataset(photo_folder(tmp_path_factory.mktemp("animals"), PER_CLASS))


@pytest.fixture(scope="module")
def classifier() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def found(pipeline: DARPipeline, data: ImageDataset, classifier: Recorder) -> EvaluationResult:
    return evaluate_layout(pipeline, data, classifier, prefixes=[5, 2], settings=SETTINGS, seed=SEED, batch_size=COUNT)


@pytest.fixture(scope="module")
def classes(found: EvaluationResult) -> list[str]:
    """The new classes of the eight references on the sheet, as its title tells them."""
    (title,) = found.pictures
    return title.split("rows become ")[1].split(", ")


@pytest.fixture(scope="module")
def shown(data: ImageDataset) -> list[int]:
    """Places of these references."""
    return sorted(LabelledImages(data, 16, COUNT).preview_indices(8))


def references() -> list[Image.Image]:
    return [centre_crop(photo(i), 16) for i in range(COUNT)]


def pixels(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 127.5 - 1


def test_every_number_of_tokens_has_both_figures(found: tuple[Report, object], classifier: Recorder) -> None:
    report = found.report
    assert list(report.metrics) == ["0 tokens", "2 tokens", "5 tokens", "8 tokens"]
    originals = to_pixels(references())
    for images, estimates in zip(classifier.shown, report.metrics.values(), strict=True):
        values = layout_similarity(pixels(images), originals).double()
        half = 1.96 * values.std().item() / COUNT**0.5
        estimate = estimates["layout_similarity"]
        assert estimate.value == pytest.approx(values.mean().item(), rel=1e-6)
        assert (estimate.low, estimate.high) == pytest.approx((estimate.value - half, estimate.value + half), rel=1e-6)
        assert (estimates["label_agreement"].value * COUNT) % 1 == pytest.approx(0)


def test_curves_hold_the_figures(found: tuple[Report, object]) -> None:
    report = found.report
    similarity = [estimates["layout_similarity"].value for estimates in report.metrics.values()]
    agreement = [estimates["label_agreement"].value for estimates in report.metrics.values()]
    trade_off, by_similarity, by_agreement = report.curves
    assert [(point.x, point.y) for point in trade_off.points] == list(zip(agreement, similarity, strict=True))
    assert [point.label for point in trade_off.points] == list(report.metrics)
    assert [(point.x, point.y) for point in by_similarity.points] == list(zip(LENGTHS, similarity, strict=True))
    assert [(point.x, point.y) for point in by_agreement.points] == list(zip(LENGTHS, agreement, strict=True))


def test_all_tokens_are_a_reconstruction_from_the_same_noise(
    pipeline: DARPipeline, found: object, classifier: Recorder
) -> None:
    tokens = pipeline.tokenizer.encode(to_pixels(references()))
    expected = to_images(pipeline.tokenizer.decode(tokens, seed=SEED))
    assert_alike(classifier.shown[-1], expected)


def test_other_numbers_of_tokens_are_what_the_pipeline_generates(
    pipeline: DARPipeline, shown: list[int], classes: list[str], classifier: Recorder
) -> None:
    for length, images in zip(LENGTHS, classifier.shown, strict=True):
        for index, wanted in list(zip(shown, classes, strict=True))[::3]:
            layout = {"layout": photo(index), "layout_tokens": length} if length else {}
            alone = pipeline([wanted], seed=SEED + index, **SETTINGS, **layout)
            assert_alike(images[index : index + 1], alone.images)


def assert_alike(shown: torch.Tensor, images: list[Image.Image]) -> None:
    """But for rounding to another level."""
    torch.testing.assert_close(pixels(shown), to_pixels(images), rtol=0, atol=1.5 / 127.5)


def test_new_classes_are_never_an_image_s_own(shown: list[int], classes: list[str]) -> None:
    own = [tiny.PRIOR.class_names[index // PER_CLASS] for index in shown]
    assert all(new != old for new, old in zip(classes, own, strict=True))
    assert len(set(classes)) > 1


def test_agreement_is_with_the_new_class(pipeline: DARPipeline, data: ImageDataset) -> None:
    """A classifier that sees one class everywhere agrees as often as that class is drawn."""

    class Constant(Projection):
        def __init__(self, seen: int) -> None:
            super().__init__(tiny.PRIOR.class_names[::-1])  # matched by name, not by place
            self.seen = seen

        def __call__(self, images_B3HW: torch.Tensor) -> Features:
            logits = torch.zeros(len(images_B3HW), 3)
            logits[:, self.seen] = 1
            return Features(super().__call__(images_B3HW).pooled, logits=logits)

    shares = []
    for seen in range(3):
        report = evaluate_layout(pipeline, data, Constant(seen), prefixes=[8], settings={}, seed=SEED).report
        assert report.metrics["0 tokens"]["label_agreement"] == report.metrics["8 tokens"]["label_agreement"]
        shares.append(report.metrics["0 tokens"]["label_agreement"].value)
    assert sum(shares) == pytest.approx(1)
    cats = ImageDataset(Path(data.source) / "cat")
    assert cats.class_names == ()
    bare = [evaluate_layout(pipeline, cats, Constant(seen), prefixes=[8], settings={}).report for seen in range(3)]
    assert sum(report.metrics["8 tokens"]["label_agreement"].value for report in bare) == pytest.approx(1)


def test_batch_size_and_workers_change_nothing_but_rounding(
    pipeline: DARPipeline, data: ImageDataset, found: tuple[Report, object]
) -> None:
    again = evaluate_layout(
        pipeline, data, Projection(), prefixes=[2, 5, 5], settings=SETTINGS, seed=SEED, batch_size=5, workers=1
    ).report
    assert again.protocol == found.report.protocol
    assert again.subject == found.report.subject
    for estimates, others in zip(again.metrics.values(), found.report.metrics.values(), strict=True):
        assert estimates["label_agreement"] == others["label_agreement"]
        assert estimates["layout_similarity"].value == pytest.approx(others["layout_similarity"].value, abs=1e-2)


def test_the_sheet_shows_references_and_what_became_of_them(
    found: EvaluationResult, shown: list[int], classifier: Recorder
) -> None:
    (sheet,) = found.pictures.values()
    tops = []
    for index in shown:
        columns = [references()[index]]
        columns += [Image.fromarray(images[index].permute(1, 2, 0).numpy()) for images in classifier.shown]
        places = [positions(sheet, image)[0] for image in columns]
        assert len({y for _, y in places}) == 1
        assert [x for x, _ in places] == [places[0][0] + 136 * column for column in range(5)]
        tops.append(places[0][1])
    assert tops == sorted(set(tops))


def test_the_report_tells_how_it_was_sampled_and_measured(pipeline: DARPipeline, found: tuple[Report, object]) -> None:
    report = found.report
    assert report.kind == "layout"
    assert report.subject["prior"] == weights_hash(pipeline.prior)
    assert report.subject["tokenizer"] == weights_hash(pipeline.tokenizer)
    told = {"guidance_scale": (1.0, 3.0), "temperature": 0.9, "steps": 4, "solver": "adams-bashforth-2", "seed": SEED}
    assert told.items() <= report.subject.items()
    assert report.protocol["extractors"] == {"projection": "0" * 64}
    assert report.protocol["tokens_kept"] == LENGTHS


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"prefixes": [0]}, "must lie between 1 and 8, not 0"),
        ({"prefixes": [4, 9]}, "must lie between 1 and 8, not 9"),
        ({"settings": {"top_k": 0}}, "top-k"),
        ({"settings": {"solver": "heun"}}, "there is no solver 'heun'"),
        ({"count": COUNT + 1}, f"holds {COUNT} images, not {COUNT + 1}"),
        ({"classifier": Projection(("cat", "great dane", "dog"))}, "does not tell the model's classes sea_lion"),
        ({"classifier": Projection(("cat", "cat", "great dane", "sea_lion"))}, "the model's classes cat from others"),
        ({"classifier": Projection(())}, "it knows none: choose a classifier"),
    ],
)
def test_what_does_not_fit_is_refused(
    pipeline: DARPipeline, data: ImageDataset, arguments: dict[str, Any], complaint: str
) -> None:
    classifier = arguments.pop("classifier", Projection())
    with pytest.raises(DARError, match=complaint):
        evaluate_layout(pipeline, data, classifier, **{"prefixes": [2], "settings": {}, **arguments})


def test_an_extractor_without_logits_is_refused(pipeline: DARPipeline, data: ImageDataset) -> None:
    class Blind(Projection):
        def __call__(self, images_B3HW: torch.Tensor) -> Features:
            return Features(super().__call__(images_B3HW).pooled)

    with pytest.raises(DARError, match="projection tells no classes"):
        evaluate_layout(pipeline, data, Blind(), prefixes=[2], settings={})


def test_data_of_other_classes_are_refused(pipeline: DARPipeline, tmp_path: Path) -> None:
    folder = photo_folder(tmp_path / "animals", 2)
    (folder / "cat").rename(folder / "cart")
    with pytest.raises(DARError, match=r"the classes of .* are not the model's: there is no class 'cart'"):
        evaluate_layout(pipeline, ImageDataset(folder), Projection(), prefixes=[2], settings={})


def test_a_model_of_one_class_is_refused(pipeline: DARPipeline, data: ImageDataset) -> None:
    lonely = DARPipeline(pipeline.tokenizer, tiny.prior(dataclasses.replace(tiny.PRIOR, class_names=("cat",))))
    with pytest.raises(DARError, match="a single class"):
        evaluate_layout(lonely, data, Projection(), prefixes=[2], settings={})


def test_equal_layouts_have_finite_figures(pipeline: DARPipeline, tmp_path: Path) -> None:
    model = DARPipeline(white_tokenizer(), pipeline.prior)
    data = ImageDataset(white_folder(tmp_path))
    report = evaluate_layout(model, data, Projection(), prefixes=[2], settings={}).report
    assert report.metrics["2 tokens"]["layout_similarity"] == Estimate(100.0, 100.0, 100.0)
