"""No tensor of a generation is left on the CPU where a model is elsewhere; found without a GPU.

The models lie on torch's ``meta`` device, whose tensors have no values; ``FakeTensorMode`` would let them claim to be
on a GPU, but torch's builds for CPUs alone refuse to write to parts of such tensors. What needs values or a GPU is not
covered: CUDA graphs, autocast, compiled layers, the nearest code (which turns autocast off), drafts of several tokens.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dar.generation.settings import GenerationSettings
from dar.generation.state import GenerationState
from dar.prior import Prior
from dar.tokenizer import SequentialDiffusionTokenizer
from tests import tiny

MIXED = [
    GenerationSettings(guidance_scale=(1.0, 4.0), steps=2, top_k=5),
    GenerationSettings(guidance_scale=1.0, steps=7, solver="euler"),
    GenerationSettings(guidance_scale=3.0, temperature=0),
    GenerationSettings(guidance_scale=(2.0, 2.0, (2, 5)), steps=5, top_p=0.9),
]
COPIES = (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)


class OneDevice(TorchDispatchMode):
    """Fails an operation on tensors of several devices, unless it copies; single numbers may lie on the CPU."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        devices = {tensor.device.type for tensor in tensors if tensor.dim() or tensor.device.type != "cpu"}
        assert func in COPIES or len(devices) < 2, f"{func} of {[(one.device.type, one.shape) for one in tensors]}"
        return func(*args, **(kwargs or {}))


@pytest.fixture(params=["group", "prefix"])
def tokenizer(request: pytest.FixtureRequest) -> SequentialDiffusionTokenizer:
    return tiny.tokenizer(dataclasses.replace(tiny.TOKENIZER, decoder_context=request.param)).to("meta")


@pytest.fixture
def prior(monkeypatch: pytest.MonkeyPatch) -> Prior:
    monkeypatch.setattr("dar.prior.state.computing_dtype", lambda prior: prior.dtype)  # meta knows no autocast
    return tiny.prior().to("meta")


Begin = Callable[[Sequence[GenerationSettings], Tensor | None], GenerationState]


@pytest.fixture
def begin(tokenizer: SequentialDiffusionTokenizer, prior: Prior) -> Begin:
    def begun(settings: Sequence[GenerationSettings], prefix: Tensor | None = None) -> GenerationState:
        rows = range(len(settings))
        return GenerationState(tokenizer, prior, [row % 3 for row in rows], list(rows), settings, prefix)

    return begun


def finish(state: GenerationState) -> None:
    while not all(state.is_finished(row) for row in range(len(state))):
        if state.drawable():
            state.draw()
        while state.ready():
            assert state.denoise().pixels.is_meta
    assert state.tokens.is_meta


@pytest.mark.parametrize("settings", [*([one] * 2 for one in MIXED), MIXED])
def test_images_of_one_kind_and_of_several(begin: Begin, settings: list[GenerationSettings]) -> None:
    with OneDevice():
        finish(begin(settings))


def test_images_that_part_and_join(begin: Begin) -> None:
    with OneDevice():
        early = begin(MIXED)
        for _ in range(3):
            early.draw()
            while early.ready():
                early.denoise()
        late = begin(MIXED[:1], tiny.tokens(1)[:, :4])
        forked = late.fork([8, 9])
        finish(GenerationState.joined([early.select([2, 0]), late, forked]))


def test_the_networks_of_the_tokenizer(tokenizer: SequentialDiffusionTokenizer) -> None:
    with OneDevice():
        assert tokenizer.encoder(tiny.pixels(2).to("meta")).is_meta
        conditions = tokenizer.context(tokenizer.condition(tiny.tokens(2)), 1)
        assert tokenizer.velocity(tiny.noise(2).to("meta"), 0.3, conditions).is_meta


@pytest.mark.parametrize("part", ["tokens", "uniforms", "angles", "noise"])
def test_what_is_left_on_the_cpu_is_found(begin: Begin, tokenizer: SequentialDiffusionTokenizer, part: str) -> None:
    """Else the tests above would prove nothing."""
    state = begin(MIXED)
    if part == "tokens":
        state._drawing.tokens = torch.zeros(4, 8, dtype=torch.int64)
    elif part == "uniforms":
        state._drawing._uniforms = tiny.uniforms(4)
    elif part == "angles":
        tokenizer.diffusion_decoder.cos = torch.ones(tokenizer.diffusion_decoder.cos.shape)
    else:
        state._denoising._x = tiny.noise(4)
    with OneDevice(), pytest.raises((AssertionError, NotImplementedError), match=r"'cpu'|out of meta tensor"):
        finish(state)
