import copy
import dataclasses
from pathlib import Path

import pytest
import torch

from dar.data import ImageDataset, MicroBatches
from dar.tokenizer.output import ReachedStates, TokenizerOutput
from dar.train.distributed import Distributed
from dar.train.draws import draw
from dar.train.own_states import own_ticks, reach
from dar.train.tokenizer import TokenizerTask
from tests import tiny
from tests.train.photos import photo_folder, small_recipe


def test_ticks_are_spread_over_the_batch() -> None:
    assert (own_ticks(8, 0.25, 4, 0) > 0).tolist() == [False, False, False, True] * 2
    assert int((own_ticks(64, 0.125, 11, 5) > 0).sum()) == 8


def test_every_step_but_the_first_has_its_turn() -> None:
    ticks = torch.cat([own_ticks(8, 0.25, 11, step) for step in range(5)])
    assert sorted(ticks[ticks > 0].tolist()) == list(range(1, 11))


@pytest.mark.parametrize(("share", "num_steps"), [(0.0, 8), (0.5, 1)])
def test_without_a_share_or_a_second_step_there_are_none(share: float, num_steps: int) -> None:
    assert not own_ticks(8, share, num_steps, 3).any()


@pytest.mark.parametrize("context", ["group", "prefix"])
def test_states_are_those_that_the_sampler_passes(context: str) -> None:
    config = dataclasses.replace(tiny.TOKENIZER, decoder_context=context, final_steps=2, num_steps=5)
    tokenizer, q = tiny.tokenizer(config), config.tokens_per_group
    pixels, noise, ticks = tiny.pixels(4), tiny.noise(4), torch.tensor([1, 0, 4, 3])
    reached = reach(tokenizer, pixels, noise, ticks)
    assert reached.own.tolist() == [True, False, True, True]
    tokens = tokenizer.encode(pixels)
    conditions = tokenizer.condition(tokens)
    expected = tokenizer.decode(tokens, noise=noise, solver="euler")
    for i in (0, 2, 3):
        x = reached.states[i : i + 1]
        for step in tokenizer.clock.schedule(5)[ticks[i] :]:
            start = 0 if context == "prefix" else step.group * q
            condition = conditions[i : i + 1, start : (step.group + 1) * q]
            x = x + (step.end - step.start) * tokenizer.velocity(x, step.start, condition)
        torch.testing.assert_close((x / config.data_std).clamp(-1, 1), expected[i : i + 1], atol=1e-4, rtol=1e-4)


def test_states_are_those_of_the_weights_after_each_step(task: TokenizerTask) -> None:
    tokenizer = copy.deepcopy(task.tokenizer).train()
    pixels, noise, ticks = tiny.pixels(2), tiny.noise(2), torch.tensor([2, 3])
    before = reach(tokenizer, pixels, noise, ticks).states
    for parameter in tokenizer.parameters():
        parameter.grad = torch.randn_like(parameter)
    torch.optim.AdamW(tokenizer.parameters(), lr=0.01, fused=True).step()
    after = reach(tokenizer, pixels, noise, ticks).states
    assert not torch.allclose(after, before, atol=1e-3)
    torch.testing.assert_close(after, reach(copy.deepcopy(tokenizer), pixels, noise, ticks).states)


def test_the_training_pass_predicts_from_reached_states() -> None:
    tokenizer, pixels, noise = tiny.tokenizer(), tiny.pixels(3), tiny.noise(3)
    u = torch.tensor([0.3, 0.5, 0.5])
    states = tiny.noise(3, seed=9)
    reached = ReachedStates(torch.tensor([False, True, False]), states)
    plain, mixed = tokenizer(pixels, u, noise), tokenizer(pixels, u, noise, reached=reached)
    assert mixed.on_path.tolist() == [True, False, True]
    assert plain.on_path.all()
    torch.testing.assert_close(mixed.velocity[[0, 2]], plain.velocity[[0, 2]])
    t = plain.time[1]
    expected = (states[1] + (1 - t) * mixed.velocity[1]) / tokenizer.config.data_std
    torch.testing.assert_close(mixed.predicted_image[1], expected)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> TokenizerTask:
    recipe = small_recipe(
        "tokenizer_training.batch_size=8",
        "tokenizer_training.pixel_weight=0.5",
        "tokenizer_training.continuous_steps=0",
        "tokenizer_training.own_state_share=0.25",
        "tokenizer_training.own_state_start=2",
    )
    photos: Path = photo_folder(tmp_path_factory.mktemp("photos"))
    return TokenizerTask(recipe, ImageDataset(photos), ImageDataset(photos), Distributed())


def test_parts_of_a_batch_add_up_to_the_whole(task: TokenizerTask) -> None:
    (batch,) = task.batches(0, 1, MicroBatches())

    def losses(rows: range) -> dict[str, torch.Tensor]:
        piece = dataclasses.replace(batch, pixels=batch.pixels[rows.start : rows.stop])
        return task.losses(task.model, piece, 2, rows, torch.Generator().manual_seed(0))

    whole, parts = losses(range(8)), [losses(range(3)), losses(range(3, 8))]
    for name, value in whole.items():
        torch.testing.assert_close(sum(part[name] for part in parts), value, msg=name)


def test_the_model_is_given_the_states_and_their_clocks(task: TokenizerTask, monkeypatch: pytest.MonkeyPatch) -> None:
    (batch,) = task.batches(0, 1, MicroBatches())
    given = {}

    def spied(
        pixels: torch.Tensor, u: torch.Tensor, noise: torch.Tensor, quantised: bool, reached: ReachedStates
    ) -> TokenizerOutput:
        given.update(u=u, noise=noise, reached=reached)
        return task.tokenizer(pixels, u, noise, quantised, reached)

    monkeypatch.setattr(task, "model", spied)
    task.losses(task.model, batch, 2, range(8), torch.Generator().manual_seed(0))
    ticks = draw(task.recipe, 2, batch.pixels.shape[1:], torch.Generator().manual_seed(0)).ticks
    own, expected = ticks > 0, reach(task.tokenizer, batch.pixels, given["noise"], ticks)
    assert given["reached"].own.tolist() == own.tolist()
    torch.testing.assert_close(given["reached"].states[own], expected.states[own])
    torch.testing.assert_close(given["u"][own], ticks[own] / task.recipe.tokenizer.num_steps)
