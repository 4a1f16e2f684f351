import pytest
import torch

from dar.errors import DARError
from dar.evaluate.paired_features import PairedFeatures
from dar.features.extractor import Features
from dar.report.report import Estimate
from tests.evaluate.animals import Projection

COUNT = 60


def images() -> torch.Tensor:
    return torch.randint(0, 200, (COUNT, 3, 16, 16), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def test_a_shift_is_told_exactly_whichever_images_are_left_out() -> None:
    """Features of lighter images lie off by the same vector everywhere, so that all distances are its square."""
    originals = images()
    decoded = torch.stack([originals + 30, originals + 10])
    paired = PairedFeatures(Projection(), COUNT + 5)
    for part in (slice(0, 50), slice(50, COUNT)):
        paired.add(originals[part], decoded[:, part])
    shift_D = (Projection()(decoded[1]).pooled - Projection()(originals).pooled)[0].double()
    expected = shift_D.square().sum().item()
    of_one, of_both = paired.rfid(torch.Generator().manual_seed(0))
    assert of_one == Estimate(pytest.approx(9 * expected, rel=1e-4))
    assert of_both.value == pytest.approx(expected, rel=1e-4)
    assert (of_both.low, of_both.high) == (pytest.approx(expected, rel=1e-3), pytest.approx(expected, rel=1e-3))


def test_features_that_are_no_numbers_are_refused() -> None:
    class Broken(Projection):
        def __call__(self, images_B3HW: torch.Tensor) -> Features:
            return Features(super().__call__(images_B3HW).pooled / 0)

    with pytest.raises(DARError, match="NaN or infinite"):
        PairedFeatures(Broken(), COUNT).add(images(), images()[None])
