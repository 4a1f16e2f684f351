import itertools

import pytest
import torch

from dar.flow import Clock, interpolate, shifted_time
from tests import tiny


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0, 7.0])
def test_shifted_time_keeps_both_ends(shift: float) -> None:
    assert shifted_time(0.0, shift) == 0
    assert shifted_time(1.0, shift) == 1


def test_shifted_time_formula() -> None:
    assert shifted_time(0.5, 2.0) == pytest.approx(1 / 3)
    assert shifted_time(0.25, 1.0) == 0.25
    torch.testing.assert_close(shifted_time(torch.tensor([0.5, 0.8]), 2.0), torch.tensor([1 / 3, 2 / 3]))


@pytest.mark.parametrize("k", range(7))
def test_groups_change_at_odd_sixteenths(k: int) -> None:
    boundary = torch.tensor((2 * k + 1) / 16, dtype=torch.float64)
    assert Clock(8, 2.0).group(boundary - 1e-9) == k
    assert Clock(8, 2.0).group(boundary) == k + 1


def test_first_and_last_group_hold_the_ends() -> None:
    assert Clock(8, 2.0).group(torch.tensor([0.0, 15 / 16, 0.9999, 1.0])).tolist() == [0, 7, 7, 7]
    assert Clock(8, 2.0).group(torch.zeros(2, 3)).dtype == torch.int64


@pytest.mark.parametrize("num_groups", [1, 3, 7, 8, 16, 49])
def test_step_i_of_k_uses_group_i(num_groups: int) -> None:
    assert [step.group for step in Clock(num_groups, 2.0).schedule(num_groups)] == list(range(num_groups))


def test_interpolate_goes_straight_from_noise_to_image() -> None:
    image, noise = tiny.pixels(3), tiny.noise(3)
    mixed = interpolate(image, noise, torch.tensor([0.0, 0.25, 1.0]))
    torch.testing.assert_close(mixed[0], noise[0])
    torch.testing.assert_close(mixed[1], 0.25 * image[1] + 0.75 * noise[1])
    torch.testing.assert_close(mixed[2], image[2])


@pytest.mark.parametrize("num_steps", [1, 2, 5, 8, 12, 16])
def test_schedule_runs_from_noise_to_image_without_gaps(num_steps: int) -> None:
    steps = Clock(8, 2.0).schedule(num_steps)
    assert len(steps) == num_steps
    assert steps[0].start == 0
    assert steps[-1].end == 1
    assert all(step.start < step.end for step in steps)
    assert all(one.end == other.start for one, other in itertools.pairwise(steps))


def test_schedule_follows_the_shifted_clock() -> None:
    starts = [step.start for step in Clock(8, 2.0).schedule(8)]
    assert starts == pytest.approx([(i / 8) / (i / 8 + 2 * (1 - i / 8)) for i in range(8)])


def test_schedule_with_fewer_steps_than_groups_skips_groups() -> None:
    assert [step.group for step in Clock(8, 2.0).schedule(4)] == [0, 2, 4, 6]


def test_schedule_with_more_steps_than_groups_repeats_groups() -> None:
    assert [step.group for step in Clock(8, 2.0).schedule(16)] == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 7]


@pytest.mark.parametrize("num_steps", [0, -1])
def test_schedule_needs_a_step(num_steps: int) -> None:
    with pytest.raises(ValueError, match=f"not {num_steps}"):
        Clock(8, 2.0).schedule(num_steps)


def test_the_last_group_drives_as_many_steps_as_it_is_given() -> None:
    clock = Clock(4, 1.75, final_steps=3)
    assert [step.group for step in clock.schedule(6)] == [0, 1, 2, 3, 3, 3]
    assert clock.group(torch.tensor([5 / 12 - 1e-6, 5 / 12, 0.99])).tolist() == [2, 3, 3]
    assert clock.schedule(6)[3].start == pytest.approx(shifted_time(0.5, 1.75))


def test_one_final_step_is_the_published_clock() -> None:
    u = torch.linspace(0, 0.999, 500, dtype=torch.float64)
    assert torch.equal(Clock(8, 2.0).group(u), (u * 8 + 0.5).floor().long().clamp(max=7))
