import pytest
import torch

from dar.reconstruction import decoded_groups, reconstructions
from dar.tokenizer import SequentialDiffusionTokenizer
from tests import tiny


@pytest.mark.parametrize("steps", [1, 3, 4, 7, 12, None])
@pytest.mark.parametrize("solver", ["euler", "adams-bashforth-2"])
def test_one_pass_gives_what_each_number_of_groups_decodes_to(
    tokenizer: SequentialDiffusionTokenizer, steps: int | None, solver: str
) -> None:
    tokens = tiny.tokens(2)
    found = decoded_groups(tokenizer, tokens, seed=7, steps=steps, solver=solver)
    assert len(found) == 4
    for k, images in enumerate(found, start=1):
        alone = tokenizer.decode(tokens[:, : 2 * k], seed=7, steps=steps, solver=solver, num_tokens=2 * k)
        torch.testing.assert_close(images, alone, rtol=0, atol=1e-5)


def test_reconstructions_decode_an_image_s_own_tokens(tokenizer: SequentialDiffusionTokenizer) -> None:
    pixels = tiny.pixels(3)
    stages = reconstructions(tokenizer, pixels, seed=2)
    whole = tokenizer.decode(tokenizer.encode(pixels), seed=2)
    torch.testing.assert_close(stages[-1], whole, rtol=0, atol=1e-5)
    for i in range(3):
        alone = reconstructions(tokenizer, pixels[i : i + 1], seed=2 + i)
        for together, stage in zip(stages, alone, strict=True):
            torch.testing.assert_close(together[i : i + 1], stage, rtol=0, atol=1e-4)
