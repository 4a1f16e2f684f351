import pytest
import torch

from dar.errors import DARError
from dar.randomness import derived_rng, derived_seed, draw_noise, draw_noise_and_uniforms, image_seeds, step_generator


def test_a_number_counts_on_from_itself() -> None:
    assert image_seeds(5, 3) == [5, 6, 7]


def test_a_list_is_taken_as_it_is() -> None:
    assert image_seeds([9, 1, 9], 3) == [9, 1, 9]


def test_a_list_of_another_length_is_refused() -> None:
    with pytest.raises(DARError, match="2 seeds were given for 3 images"):
        image_seeds([1, 2], 3)


def test_a_generator_draws_new_seeds_each_time_and_repeats_with_its_state() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = image_seeds(generator, 4), image_seeds(generator, 4)
    assert len(set(first + second)) == 8
    assert image_seeds(torch.Generator().manual_seed(0), 4) == first


def test_draws_of_an_image_depend_on_its_own_seed_only() -> None:
    noise, uniforms = draw_noise_and_uniforms([3, 4, 5], 8, 6)
    alone_noise, alone_uniforms = draw_noise_and_uniforms([4], 8, 6)
    assert torch.equal(noise[1:2], alone_noise)
    assert torch.equal(uniforms[1:2], alone_uniforms)
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(uniforms[0], uniforms[1])


def test_draws_leave_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    draw_noise([1], 8)
    assert torch.equal(torch.rand(1), expected)


def test_noise_alone_is_the_noise_that_comes_with_uniforms() -> None:
    assert torch.equal(draw_noise([7, 8], 8), draw_noise_and_uniforms([7, 8], 8, 100)[0])


def test_draws_have_their_distributions() -> None:
    noise, uniforms = draw_noise_and_uniforms([0], 64, 10000)
    assert noise.shape == (1, 3, 64, 64)
    assert noise.dtype == torch.float32
    assert noise.mean().abs() < 0.03
    assert (noise.std() - 1).abs() < 0.03
    assert uniforms.dtype == torch.float64
    assert uniforms.min() >= 0
    assert uniforms.max() < 1
    assert (uniforms.mean() - 0.5).abs() < 0.02


def test_what_is_derived_from_a_seed_stays_what_it_was() -> None:
    assert derived_seed(0, "step", 3, "losses") == 3558257322379735636
    assert derived_seed(7, "label", 12) == 4926864533766302693
    assert derived_rng(1, 0).getrandbits(63) == 6278911005717071848
    generator = step_generator(0, 3, torch.device("cpu"))
    assert generator.initial_seed() == 3558257322379735636
