"""The distance between images as a classifier sees them."""

import pytest
import torch

from dar.features.classifier import ARCHITECTURES, ClassifierConfig, ImageClassifier
from dar.features.feature_distance import FeatureDistance
from tests import tiny


def distance(architecture: str = "strided") -> FeatureDistance:
    config = ClassifierConfig(
        name="two", class_names=("a", "b"), image_size=16, architecture=architecture, widths=(8, 12), depth=1
    )
    return FeatureDistance(tiny.randomise(ImageClassifier(config), seed=4))


def test_an_image_is_at_no_distance_from_itself() -> None:
    images = tiny.pixels(2)
    assert torch.equal(distance()(images, images), torch.zeros(2))


def test_a_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orthogonal features are sqrt(2) apart in the one stage, opposite ones 2 in the other: (2 + 4) / 2."""
    measure = distance()
    one, other = torch.tensor([3.0, 0.0]).view(1, 2, 1, 1), torch.tensor([0.0, 5.0]).view(1, 2, 1, 1)
    stages = iter([[other, -one], [one, one]])
    monkeypatch.setattr(measure.classifier, "stage_features", lambda images: next(stages))
    assert measure(tiny.pixels(1), tiny.pixels(1)).item() == pytest.approx(3.0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_the_first_images_get_a_gradient_and_the_network_none(architecture: str) -> None:
    measure = distance(architecture)
    images, references = tiny.pixels(2).requires_grad_(), tiny.pixels(2, seed=9).requires_grad_()
    found = measure(images, references)
    assert found.shape == (2,)
    assert (found > 0).all()
    found.sum().backward()
    assert images.grad is not None
    assert images.grad.abs().max() > 0
    assert references.grad is None
    assert all(parameter.grad is None for parameter in measure.parameters())


def test_training_mode_of_what_holds_it_does_not_change_it() -> None:
    """Batch statistics would let images of a batch change each other's distances."""
    measure = distance()
    images, references = tiny.pixels(3), tiny.pixels(3, seed=9)
    together = measure(images, references)
    alone = torch.cat([measure(images[i : i + 1], references[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone)
