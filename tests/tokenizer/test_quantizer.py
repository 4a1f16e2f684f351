import pytest
import torch
from torch.nn import functional as F

from dar.tokenizer import SequentialDiffusionTokenizer
from dar.tokenizer.quantizer import Quantizer
from tests import tiny

SHAPE = (2, 5, tiny.TOKENIZER.codebook_dim)


@pytest.fixture(scope="module")
def quantizer() -> Quantizer:
    """Rows of unequal lengths, as in a published codebook."""
    return tiny.randomise(Quantizer(tiny.TOKENIZER), seed=0)


def test_nearest_is_nearest_by_euclidean_distance_on_the_unit_sphere(quantizer: Quantizer) -> None:
    features = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    distances = torch.cdist(F.normalize(features, dim=-1), F.normalize(quantizer.codebook, dim=-1))
    assert torch.equal(quantizer.nearest(features), distances.argmin(-1))
    assert len(quantizer.nearest(features).unique()) > 1


def test_every_entry_is_nearest_to_itself_whatever_its_length(quantizer: Quantizer) -> None:
    lengths = torch.linspace(0.1, 10, len(quantizer.codebook))[:, None]
    assert quantizer.nearest(quantizer.codebook * lengths).tolist() == list(range(len(quantizer.codebook)))


def test_lookup_gives_unit_rows(quantizer: Quantizer) -> None:
    entries = quantizer.lookup(torch.tensor([[3, 31], [0, 3]]))
    assert entries.shape == (2, 2, tiny.TOKENIZER.codebook_dim)
    torch.testing.assert_close(entries.norm(dim=-1), torch.ones(2, 2))
    torch.testing.assert_close(entries[0, 1], F.normalize(quantizer.codebook[31], dim=0))
    assert torch.equal(entries[0, 0], entries[1, 1])


def test_gradients_reach_the_rows_looked_up_and_no_others(quantizer: Quantizer) -> None:
    weights = torch.arange(1.0, 9.0)
    (gradient,) = torch.autograd.grad((quantizer.lookup(torch.tensor([3, 5])) * weights).sum(), quantizer.codebook)
    assert gradient.abs().sum(-1).nonzero().flatten().tolist() == [3, 5]


def test_new_codebook_lies_on_the_unit_sphere() -> None:
    torch.testing.assert_close(Quantizer(tiny.TOKENIZER).codebook.norm(dim=-1), torch.ones(32))


def test_training_in_bfloat16_chooses_the_codes_that_encoding_does(tokenizer: SequentialDiffusionTokenizer) -> None:
    features = torch.randn(500, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        codes = tokenizer.quantizer.nearest(features)
    assert torch.equal(codes, tokenizer.quantizer.nearest(features))
