"""Steps of fixed shape predict what steps of growing shape do; that graphs replay them is checked on a GPU.

See scripts/gpu_check.py.
"""

import pytest
import torch

from dar.prior import Prior
from dar.prior.decoding import TokenDecoder
from dar.prior.step_graphs import BUCKET, bucket
from tests import tiny

CLASSES = torch.tensor([0, 2, 3])


@torch.no_grad()
@pytest.mark.parametrize("spare", [0, 3])
def test_a_step_that_looks_beyond_the_filled_part_predicts_the_same(prior: Prior, spare: int) -> None:
    decoder, tokens = TokenDecoder(prior, torch.float32), tiny.tokens(3)
    sequence = torch.cat([prior.class_tokens(CLASSES)[:, None], tokens[:, :-1]], dim=1)
    growing, fixed = decoder.new_cache(3), decoder.new_cache(3)
    fixed.tensors.normal_()  # what another generation has left there
    for i, ids in enumerate(sequence.split(1, dim=1)):
        wanted = decoder.next_logits(ids, growing)
        end = min(i + 1 + spare, tokens.shape[1])
        found = decoder._step(fixed.tensors, ids, torch.full_like(ids, i), end)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@torch.no_grad()
def test_compiled_layers_predict_the_same(prior: Prior, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)  # as where graphs are
    plain = TokenDecoder(prior, torch.float32)
    monkeypatch.setattr(prior, "compiled", True)
    monkeypatch.setattr(torch, "compile", lambda layer: torch._dynamo.optimize("aot_eager")(layer))
    compiled, ids = TokenDecoder(prior, torch.float32), prior.class_tokens(CLASSES)[:, None]
    caches = plain.new_cache(3), compiled.new_cache(3)
    for _ in range(3):
        logits = plain.next_logits(ids, caches[0])
        torch.testing.assert_close(compiled.next_logits(ids, caches[1]), logits, rtol=0, atol=1e-5)
        ids = logits.argmax(-1, keepdim=True)


@pytest.mark.parametrize(
    ("needed", "most", "rounded"), [(1, 256, BUCKET), (BUCKET, 256, BUCKET), (BUCKET + 1, 256, 2 * BUCKET), (5, 8, 8)]
)
def test_positions_are_rounded_up_to_buckets(needed: int, most: int, rounded: int) -> None:
    assert bucket(needed, most) == rounded
