"""Configurations that weights do not bear out: refused by names and shapes, before memory or time is spent."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from dar.errors import DARError
from dar.features.classifier import ClassifierConfig, ImageClassifier
from dar.pipeline import load_prior, load_tokenizer
from tests import tiny

HUGE = 2**24


def changed(folder: Path, **values: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"encoder_width": HUGE}, r"mis-shaped: encoder\."),
        ({"decoder_width": HUGE}, r"mis-shaped: diffusion_decoder\."),
        ({"encoder_depth": HUGE}, "config.json asks for more than the [0-9]+ tensors"),
        ({"decoder_depth": HUGE}, "config.json asks for more than the [0-9]+ tensors"),
        ({"latent_decoder_depth": HUGE}, "config.json asks for more than the [0-9]+ tensors"),
        ({"codebook_size": HUGE}, r"mis-shaped: quantizer\.codebook"),
        ({"codebook_dim": HUGE}, "mis-shaped: encoder"),
        ({"num_tokens": 2**14}, "mis-shaped: encoder.queries"),
        ({"num_tokens": HUGE}, "would see 16777232 patches and tokens"),
        ({"image_size": HUGE}, "would see [0-9]+ patches and tokens"),
        ({"image_size": 4096, "encoder_patch_size": 1024}, "would denoise 1048576 patches"),
        ({"image_size": HUGE, "encoder_patch_size": HUGE, "decoder_patch_size": HUGE}, "mis-shaped"),
        ({"num_steps": HUGE}, "num_steps must be at most 10000"),
    ],
)
def test_sizes_of_a_tokenizer_that_its_weights_lack_are_refused(
    tmp_path: Path, values: dict[str, int], said: str
) -> None:
    tiny.tokenizer().save_pretrained(tmp_path)
    assert_refused(lambda: load_tokenizer(changed(tmp_path, **values)), said)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"width": HUGE}, "mis-shaped"),
        ({"mlp_width": HUGE}, "mis-shaped: llama.model.layers.0.mlp"),
        ({"depth": HUGE}, "config.json asks for more than the [0-9]+ tensors"),
        ({"codebook_size": HUGE}, "mis-shaped: llama.lm_head"),
        ({"width": HUGE, "mlp_width": HUGE, "codebook_size": HUGE}, "mis-shaped|too large"),
        ({"norm_eps": True}, "norm_eps must be a number, not True"),
    ],
)
def test_sizes_of_a_prior_that_its_weights_lack_are_refused(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    tiny.prior().save_pretrained(tmp_path)
    assert_refused(lambda: load_prior(changed(tmp_path, **values)), said)


def test_whole_numbers_will_do_where_a_prior_has_fractions(tmp_path: Path) -> None:
    tiny.prior().save_pretrained(tmp_path)
    assert load_prior(changed(tmp_path, norm_eps=1, rope_theta=10000)).config.norm_eps == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"depth": HUGE}, "config.json asks for more than the [0-9]+ tensors"),
        ({"widths": [HUGE, HUGE]}, "mis-shaped"),
        ({"class_names": ["a", "b", "c"]}, "mis-shaped: head"),
    ],
)
def test_sizes_of_a_classifier_that_its_weights_lack_are_refused(
    tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    ImageClassifier(ClassifierConfig(name="x", class_names=("a", "b"), widths=(8, 8))).save_pretrained(tmp_path)
    assert_refused(lambda: ImageClassifier.from_pretrained(changed(tmp_path, **values)), said)


def assert_refused(load: Any, said: str) -> None:
    start = time.monotonic()
    with pytest.raises(DARError, match=said):
        load()
    assert time.monotonic() - start < 10
