import json
from pathlib import Path

import pytest
import torch
from torch import nn

from dar.convert import names
from dar.convert.checkpoint import Checkpoint
from dar.convert.names import DROPPED, halves_to_pairs, pairs_to_halves, prior_rules, to_ours, to_published
from dar.convert.published import prior_from, tokenizer_from
from dar.prior import Prior, PriorConfig
from dar.prior.config import PRIOR_SIZES
from dar.prior.imagenet import imagenet_classes
from dar.tokenizer import TokenizerConfig
from dar.tokenizer.config import TOKENIZER_SIZES
from tests import tiny
from tests.convert import published

SHAPES = json.loads((Path(__file__).parents[1] / "fixtures" / "published_checkpoints.json").read_text())


def published_file(name: str, settings: dict[str, object] | None = None) -> Checkpoint:
    """A published file without its gigabytes."""
    weights = {tensor: torch.empty(shape, device="meta") for tensor, shape in SHAPES[name].items()}
    return Checkpoint(Path(name), weights, averaged=True, steps=None, arguments={}, settings=settings)


def test_every_tensor_of_the_published_tokenizer_has_its_place() -> None:
    config = TokenizerConfig(**TOKENIZER_SIZES["v1"])
    settings = published.settings(config)
    del settings["sampling_resolution"]
    half = tokenizer_from(published_file("D-AR-tokenizer_v1.pt", settings))
    assert half.config == config
    back = to_published(names.tokenizer_rules(config), dict(half.tensors()))
    kept = {name: shape for name, shape in SHAPES["D-AR-tokenizer_v1.pt"].items() if name not in DROPPED}
    assert {name: list(tensor.shape) for name, tensor in back.items()} == kept
    assert len(SHAPES["D-AR-tokenizer_v1.pt"]) - len(kept) == 7


@pytest.mark.parametrize("size", ["L", "XL"])
def test_every_tensor_of_the_published_priors_has_its_place(size: str) -> None:
    name = f"D-AR-{size}-360K.pt"
    half = prior_from(published_file(name))
    config = PriorConfig(class_names=imagenet_classes(), **PRIOR_SIZES[size])
    assert half.config == config
    back = to_published(prior_rules(config), dict(half.tensors()))
    assert {name: list(tensor.shape) for name, tensor in back.items()} == SHAPES[name]


@pytest.mark.parametrize(
    ("rules", "model"),
    [(names.tokenizer_rules(tiny.TOKENIZER), tiny.tokenizer()), (prior_rules(tiny.PRIOR), tiny.prior())],
    ids=["tokenizer", "prior"],
)
def test_there_and_back_is_the_identity(rules: list[names.Rule], model: nn.Module) -> None:
    state = model.state_dict()
    if isinstance(model, Prior):
        state["llama.lm_head.weight"][model.config.codebook_size :] = 0  # classes have no logit
    back = to_ours(rules, to_published(rules, state))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_no_name_occurs_twice() -> None:
    for rules in (names.tokenizer_rules(TokenizerConfig()), prior_rules(tiny.PRIOR)):
        for side in ("published", "ours"):
            listed = [name for rule in rules for name in getattr(rule, side)]
            assert len(listed) == len(set(listed))


def test_heads_are_reordered_even_channels_first() -> None:
    rows = torch.arange(16.0).view(8, 2)  # two heads of four channels
    assert pairs_to_halves(rows, 2)[:, 0].tolist() == [0, 4, 2, 6, 8, 12, 10, 14]
    assert torch.equal(halves_to_pairs(pairs_to_halves(rows, 2), 2), rows)
