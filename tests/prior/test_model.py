from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from dar.errors import DARError
from dar.prior import Prior
from tests import tiny

CLASSES = torch.tensor([0, 2])


@torch.no_grad()
def test_logits_are_of_image_tokens_only(prior: Prior) -> None:
    assert prior(CLASSES, tiny.tokens(2)).shape == (2, 8, 32)


@pytest.mark.parametrize("changed", range(8))
@torch.no_grad()
def test_row_i_predicts_token_i_from_earlier_ones(prior: Prior, changed: int) -> None:
    tokens = tiny.tokens(2)
    other = tokens.clone()
    other[:, changed] = (other[:, changed] + 1) % 32
    before, after = prior(CLASSES, tokens), prior(CLASSES, other)
    torch.testing.assert_close(after[:, : changed + 1], before[:, : changed + 1], rtol=0, atol=1e-5)
    assert ((after - before).abs().amax(dim=(0, 2))[changed + 1 :] > 1e-3).all()


@torch.no_grad()
def test_every_class_matters_to_every_token_the_null_class_too(prior: Prior) -> None:
    logits = prior(torch.arange(4), tiny.tokens(1).expand(4, -1))
    distances = torch.cdist(logits.transpose(0, 1), logits.transpose(0, 1)) + torch.eye(4)
    assert (distances > 1e-2).all()


@torch.no_grad()
def test_class_token_stands_at_position_0_after_the_image_tokens(prior: Prior) -> None:
    tokens = tiny.tokens(2)
    assert prior.class_tokens(CLASSES).tolist() == [32, 34]
    sequence = torch.cat([torch.tensor([[32], [34]]), tokens], dim=1)
    logits = prior.llama(input_ids=sequence).logits
    torch.testing.assert_close(prior(CLASSES, tokens), logits[:, :8, :32], rtol=0, atol=1e-5)


def test_it_is_a_plain_llama(prior: Prior) -> None:
    assert type(prior.llama) is LlamaForCausalLM
    assert not any(name.endswith("bias") for name, _ in prior.named_parameters())
    assert prior.llama.lm_head.weight is not prior.llama.model.embed_tokens.weight


@torch.no_grad()
def test_the_llama_can_be_served_from_its_own_folder(prior: Prior, tmp_path: Path) -> None:
    prior.llama.save_pretrained(tmp_path)
    served = LlamaForCausalLM.from_pretrained(tmp_path)
    sequence = torch.tensor([[33, 5, 6]])
    assert torch.equal(served(input_ids=sequence).logits, prior.llama(input_ids=sequence).logits)


@torch.no_grad()
def test_save_and_load_is_exact(prior: Prior, tmp_path: Path) -> None:
    prior.save_pretrained(tmp_path)
    loaded = Prior.from_pretrained(tmp_path)
    assert loaded.config == prior.config
    assert torch.equal(loaded(CLASSES, tiny.tokens(2)), prior(CLASSES, tiny.tokens(2)))


def test_settings_without_classes_are_refused(prior: Prior, tmp_path: Path) -> None:
    prior.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"width": 64}')
    with pytest.raises(DARError, match=r"config.json .*class_names"):
        Prior.from_pretrained(tmp_path)
