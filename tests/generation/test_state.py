"""Images of a state depend on nothing that happens beside them."""

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from dar.generation.settings import GenerationSettings
from dar.generation.state import GenerationState
from dar.pipeline import DARPipeline
from tests import tiny

SETTINGS = [
    GenerationSettings(guidance_scale=3.0, steps=4),
    GenerationSettings(guidance_scale=1.0, steps=7, solver="euler", temperature=0.8),
    GenerationSettings(guidance_scale=(1.0, 4.0), steps=2, top_k=5),
    GenerationSettings(guidance_scale=(2.0, 2.0, (2, 5)), steps=5, top_p=0.9, temperature=0),
]
CLASSES, SEEDS = [0, 2, 1, 0], [5, 6, 7, 8]


@pytest.fixture(params=["group", "prefix"])
def pipe(request: pytest.FixtureRequest) -> DARPipeline:
    tokenizer = tiny.tokenizer(dataclasses.replace(tiny.TOKENIZER, decoder_context=request.param))
    return DARPipeline(tokenizer, tiny.prior())


def begin(pipe: DARPipeline, rows: Sequence[int], prefix: Tensor | None = None) -> GenerationState:
    return GenerationState(
        pipe.tokenizer,
        pipe.prior,
        [CLASSES[row] for row in rows],
        [SEEDS[row] for row in rows],
        [SETTINGS[row] for row in rows],
        prefix,
    )


def alone(pipe: DARPipeline, row: int, **settings: object) -> tuple[Tensor, Tensor]:
    made = pipe([CLASSES[row]], seed=SEEDS[row], **SETTINGS[row].values(), **settings)
    return made.pixels[0], made.tokens[0]


def advance(state: GenerationState) -> dict[int, Tensor]:
    """Take the next step or token; return the images that are finished by it."""
    if not state.ready():
        state.draw()
        return {}
    denoised = state.denoise()
    return {row: image for row, image in zip(denoised.rows, denoised.pixels, strict=True) if state.is_finished(row)}


def assert_equal(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(found[0], wanted[0], rtol=0, atol=1e-4)
    assert torch.equal(found[1], wanted[1])


@pytest.mark.parametrize("seed", range(4))
def test_images_that_join_and_leave_are_those_generated_alone(pipe: DARPipeline, seed: int) -> None:
    """Each is admitted at some token, with settings of its own; the order of rows changes under way."""
    chance = torch.Generator().manual_seed(seed)
    waiting = torch.randperm(4, generator=chance).tolist()
    names, state, found = [], None, {}
    while waiting or names:
        if waiting and (not names or torch.rand(1, generator=chance) < 0.3):
            new = begin(pipe, [waiting[-1]])
            names.append(waiting.pop())
            state = new if state is None else GenerationState.joined([state, new])
            order = torch.randperm(len(names), generator=chance).tolist()
            state, names = state.select(order), [names[row] for row in order]
        finished = advance(state)
        found |= {names[row]: (image, state.tokens[row]) for row, image in finished.items()}
        kept = [row for row in range(len(names)) if row not in finished]
        names = [names[row] for row in kept]
        state = state.select(kept) if kept else None
    for row in range(4):
        assert_equal(found[row], alone(pipe, row))


def test_rows_may_keep_tokens(pipe: DARPipeline) -> None:
    prefix = tiny.tokens(1)[:, :5]
    state = GenerationState.joined([begin(pipe, [1]), begin(pipe, [0], prefix)])
    assert state.counts == [0, 5]
    found: dict[int, tuple[Tensor, Tensor]] = {}
    while 0 not in found:
        for row, image in advance(state).items():
            found[row] = image, state.tokens[row]
            if row == 1:  # the one with fewer tokens to draw ends first, and leaves
                state = state.select([0])
                assert_equal(found[1], alone(pipe, 0, kept_tokens=prefix))
    assert_equal(found[0], alone(pipe, 1))


@pytest.mark.parametrize("begun", [False, True])
def test_tokens_drawn_elsewhere_are_as_those_that_are_kept(pipe: DARPipeline, begun: bool) -> None:
    state, tokens = begin(pipe, [0]), alone(pipe, 0)[1]
    if begun:
        state.draw()
    elsewhere = (tokens[state.counts[0] : 5] + 1) % pipe.prior.config.codebook_size
    for token in elsewhere:
        state.take(token[None])
    prefix = torch.cat([tokens[: 5 - len(elsewhere)], elsewhere])[None]
    state = GenerationState.joined([state, begin(pipe, [1])]).select([0])
    found: dict[int, Tensor] = {}
    while not found:
        found = advance(state)
    assert_equal((found[0], state.tokens[0]), alone(pipe, 0, kept_tokens=prefix))


def test_all_tokens_may_be_kept(pipe: DARPipeline) -> None:
    tokens, state = tiny.tokens(2), begin(pipe, [0, 0], tiny.tokens(2))
    while not state.is_finished(0):
        pixels = state.denoise().pixels
    wanted = pipe.tokenizer.decode(tokens, seed=[SEEDS[0]] * 2, steps=SETTINGS[0].steps, solver=SETTINGS[0].solver)
    torch.testing.assert_close(pixels, wanted, rtol=0, atol=1e-4)


def test_rows_without_tokens_left_wait_while_others_draw(pipe: DARPipeline) -> None:
    state = GenerationState.joined([begin(pipe, [0], tiny.tokens(1)[:, :6]), begin(pipe, [1])])
    while state.drawable():
        state.draw()
    assert state.counts == [8, 8]
    found: dict[int, Tensor] = {}
    while len(found) < 2:
        found |= advance(state)
    assert_equal((found[0], state.tokens[0]), alone(pipe, 0, kept_tokens=tiny.tokens(1)[:, :6]))
    assert_equal((found[1], state.tokens[1]), alone(pipe, 1))


def test_forks_share_a_prefix_and_have_seeds_of_their_own(pipe: DARPipeline) -> None:
    prefix = tiny.tokens(1)[:, :3]
    state, found = begin(pipe, [0], prefix).fork([11, 12, 13]), {}
    while len(found) < 3:
        found |= advance(state)
    wanted = pipe([CLASSES[0]] * 3, seed=[11, 12, 13], kept_tokens=prefix.repeat(3, 1), **SETTINGS[0].values())
    torch.testing.assert_close(torch.stack([found[row] for row in range(3)]), wanted.pixels, rtol=0, atol=1e-4)
    assert torch.equal(state.tokens, wanted.tokens)


def test_what_has_begun_is_not_forked(pipe: DARPipeline) -> None:
    with pytest.raises(ValueError, match="not begun"):
        begin(pipe, [0, 1]).fork([1])
    state = begin(pipe, [0], tiny.tokens(1)[:, :4])
    state.denoise()
    with pytest.raises(ValueError, match="not begun"):
        state.fork([1, 2])


def test_a_selection_goes_on_by_itself(pipe: DARPipeline) -> None:
    state = begin(pipe, [0, 1])
    state.draw()
    copy = state.select([1, 1])
    state.draw()
    assert state.counts == [2, 2]
    assert copy.counts == [1, 1]
    copy.draw()
    assert torch.equal(copy.tokens[0], state.tokens[1])
