import torch

from dar.train.draws import draw, stratified_uniform
from tests.train.photos import small_recipe


def test_clocks_of_a_batch_cover_all_times_and_none_reaches_the_end() -> None:
    u = stratified_uniform(64, torch.Generator().manual_seed(0))
    assert sorted((u * 64).long().tolist()) == list(range(64))
    assert u.tolist() != sorted(u.tolist())
    draws = torch.stack([stratified_uniform(2, torch.Generator().manual_seed(i))[0] for i in range(4000)])
    assert draws.histc(4, 0, 1).min() > 900  # the first image's own clock is uniform
    assert draws.max() < 1


def test_own_states_are_taken_from_the_step_that_the_recipe_names() -> None:
    recipe = small_recipe(
        "tokenizer_training.batch_size=8",
        "tokenizer_training.continuous_steps=0",
        "tokenizer_training.pixel_weight=0.5",
        "tokenizer_training.own_state_share=0.25",
        "tokenizer_training.own_state_start=2",
    )
    ticks = [draw(recipe, step, (3, 16, 16), torch.Generator()).ticks for step in range(4)]
    assert [int((of_step > 0).sum()) for of_step in ticks] == [0, 0, 2, 2]


def test_a_part_of_the_batch_gets_its_own_rows() -> None:
    recipe = small_recipe("tokenizer_training.batch_size=8")
    whole = draw(recipe, 0, (3, 16, 16), torch.Generator().manual_seed(0))
    for all_rows, part in zip(whole, whole.of(range(2, 5)), strict=True):
        assert torch.equal(all_rows[2:5], part)
