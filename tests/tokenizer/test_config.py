import dataclasses
import math

import pytest
import torch

from dar.tokenizer import SequentialDiffusionTokenizer, TokenizerConfig
from dar.tokenizer.config import TOKENIZER_SIZES
from tests import tiny


def test_defaults_are_the_published_sizes() -> None:
    config = TokenizerConfig()
    assert (config.image_size, config.num_tokens, config.num_groups, config.codebook_size) == (256, 256, 8, 16384)
    assert config.tokens_per_group == 32


def test_the_published_size_has_the_published_number_of_parameters() -> None:
    config = TokenizerConfig(**TOKENIZER_SIZES["v1"])
    with torch.device("meta"):
        tokenizer = SequentialDiffusionTokenizer(config)
    assert sum(parameter.numel() for parameter in tokenizer.parameters()) == 299_503_808
    assert config == TokenizerConfig()


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(TokenizerConfig)])
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, "8", None, True])
def test_a_size_that_is_no_positive_number_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(tiny.TOKENIZER, **{field: value})


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(TokenizerConfig) if field.type is int])
def test_a_size_that_is_not_whole_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be a whole number, not 64.0"):
        dataclasses.replace(tiny.TOKENIZER, **{field: 64.0})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"encoder_width": 96}, "encoder_width must be a multiple of 64, not 96"),
        ({"decoder_width": 65}, "decoder_width must be a multiple of 64, not 65"),
        ({"encoder_patch_size": 5}, "image_size 16 is not a multiple of encoder_patch_size 5"),
        ({"decoder_patch_size": 32}, "image_size 16 is not a multiple of decoder_patch_size 32"),
        ({"num_groups": 3}, "num_tokens 8 is not a multiple of num_groups 3"),
        ({"num_tokens": 2}, "num_tokens 2 is not a multiple of num_groups 4"),
        ({"codebook_size": 1}, "codebook_size must be at least 2, not 1"),
    ],
)
def test_sizes_that_do_not_fit_each_other_are_refused(change: dict[str, int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(tiny.TOKENIZER, **change)


def test_an_unknown_decoder_context_is_refused() -> None:
    with pytest.raises(ValueError, match="decoder_context must be 'group' or 'prefix', not 'all'"):
        TokenizerConfig(decoder_context="all")
