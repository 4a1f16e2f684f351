import itertools

import pytest
import torch

from dar.flow import group_at, interpolate, schedule, shifted_time
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
    assert group_at(boundary - 1e-9, 8) == k
    assert group_at(boundary, 8) == k + 1


def test_first_and_last_group_hold_the_ends() -> None:
    assert group_at(torch.tensor([0.0, 15 / 16, 0.9999, 1.0]), 8).tolist() == [0, 7, 7, 7]
    assert group_at(torch.zeros(2, 3), 8).dtype == torch.int64


@pytest.mark.parametrize("num_groups", [1, 3, 7, 8, 16, 49])
def test_step_i_of_k_uses_group_i(num_groups: int) -> None:
    assert [step.group for step in schedule(num_groups, num_groups, 2.0)] == list(range(num_groups))


def test_interpolate_goes_straight_from_noise_to_image() -> None:
    image, noise = tiny.pixels(3), tiny.noise(3)
    mixed = interpolate(image, noise, torch.tensor([0.0, 0.25, 1.0]))
    torch.testing.assert_close(mixed[0], noise[0])
    torch.testing.assert_close(mixed[1], 0.25 * image[1] + 0.75 * noise[1])
    torch.testing.assert_close(mixed[2], image[2])


@pytest.mark.parametrize("num_steps", [1, 2, 5, 8, 12, 16])
def test_schedule_runs_from_noise_to_image_without_gaps(num_steps: int) -> None:
    steps = schedule(num_steps, 8, 2.0)
    assert len(steps) == num_steps
    assert steps[0].start == 0
    assert steps[-1].end == 1
    assert all(step.start < step.end for step in steps)
    assert all(one.end == other.start for one, other in itertools.pairwise(steps))


def test_schedule_follows_the_shifted_clock() -> None:
    starts = [step.start for step in schedule(8, 8, 2.0)]
    assert starts == pytest.approx([(i / 8) / (i / 8 + 2 * (1 - i / 8)) for i in range(8)])


def test_schedule_with_fewer_steps_than_groups_skips_groups() -> None:
    assert [step.group for step in schedule(4, 8, 2.0)] == [0, 2, 4, 6]


def test_schedule_with_more_steps_than_groups_repeats_groups() -> None:
    assert [step.group for step in schedule(16, 8, 2.0)] == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 7]


@pytest.mark.parametrize("num_steps", [0, -1])
def test_schedule_needs_a_step(num_steps: int) -> None:
    with pytest.raises(ValueError, match=f"not {num_steps}"):
        schedule(num_steps, 8, 2.0)
