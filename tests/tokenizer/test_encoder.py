import pytest
import torch

from dar.tokenizer import SequentialDiffusionTokenizer
from tests import tiny


@pytest.mark.parametrize("changed", [0, 3, 7])
def test_queries_see_themselves_and_earlier_ones_only(changed: int) -> None:
    """Deep enough that a patch that saw a query would pass it on."""
    encoder, pixels = tiny.tokenizer().encoder, tiny.pixels(2)
    assert len(encoder.blocks) > 1
    with torch.no_grad():
        before = encoder(pixels)
        encoder.queries[changed] += 1
        after = encoder(pixels)
    torch.testing.assert_close(after[:, :changed], before[:, :changed], rtol=0, atol=1e-6)
    moved = (after - before).abs().amax(dim=(0, 2))
    assert (moved[changed:] > 1e-3).all()


@torch.no_grad()
def test_every_patch_reaches_every_token(tokenizer: SequentialDiffusionTokenizer) -> None:
    pixels = tiny.pixels(1)
    before = tokenizer.encoder(pixels)
    for row in range(0, 16, 4):
        for column in range(0, 16, 4):
            changed = pixels.clone()
            changed[:, :, row : row + 4, column : column + 4] *= -1
            moved = (tokenizer.encoder(changed) - before).abs().amax(dim=(0, 2))
            assert (moved > 1e-4).all()


@torch.no_grad()
def test_places_of_patches_matter(tokenizer: SequentialDiffusionTokenizer) -> None:
    pixels = tiny.pixels(1)
    for dimension in (2, 3):
        assert not torch.allclose(tokenizer.encoder(pixels), tokenizer.encoder(pixels.roll(4, dimension)), atol=1e-3)
