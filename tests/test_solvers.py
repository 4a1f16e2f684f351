import math

import pytest
import torch
from torch import Tensor

from dar.solvers import SOLVERS, Solver, SolverState, adams_bashforth_2, advance, euler


def decay(solver: Solver, steps: int) -> float:
    """x' = -x from 1, at time 1; the exact value is 1/e."""
    state = SolverState(torch.ones(1, dtype=torch.float64))
    for i in range(steps):
        state, _ = advance(state, lambda x: -x, solver, i / steps, (i + 1) / steps)
    return state.x.item()


def swing(solver: Solver, steps: int) -> float:
    """x' = cos t from 0, at time 1; the exact value is sin 1."""
    state = SolverState(torch.zeros(1, dtype=torch.float64))
    for i in range(steps):
        slope = torch.tensor([math.cos(i / steps)], dtype=torch.float64)
        state, _ = advance(state, lambda _, slope=slope: slope, solver, i / steps, (i + 1) / steps)
    return state.x.item()


@pytest.mark.parametrize(("solver", "order"), [(euler, 1), (adams_bashforth_2, 2)])
@pytest.mark.parametrize(("solve", "exact"), [(decay, math.exp(-1)), (swing, math.sin(1))])
def test_halving_the_step_divides_the_error_by_two_to_the_order(solver, order, solve, exact) -> None:  # type: ignore[no-untyped-def]
    coarse, fine = (abs(solve(solver, steps) - exact) for steps in (64, 128))
    assert coarse / fine == pytest.approx(2**order, rel=0.1)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=list(SOLVERS))
def test_constant_velocity_is_solved_exactly_in_unequal_steps(solver: Solver) -> None:
    state = SolverState(torch.tensor([1.0, -2.0]))
    for start, end in ((0.0, 0.1), (0.1, 0.5), (0.5, 1.0)):
        state, preview = advance(state, lambda _: torch.tensor([3.0, 4.0]), solver, start, end)
        torch.testing.assert_close(preview, torch.tensor([4.0, 2.0]))
    torch.testing.assert_close(state.x, torch.tensor([4.0, 2.0]))


def test_adams_bashforth_weighs_by_fixed_weights_after_a_first_euler_step() -> None:
    now, before = torch.tensor(5.0), torch.tensor(2.0)
    assert adams_bashforth_2(now, None) == 5
    assert adams_bashforth_2(now, before) == 1.5 * 5 - 0.5 * 2
    assert euler(now, before) == 5


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=list(SOLVERS))
def test_preview_is_one_step_all_the_way(solver: Solver) -> None:
    start = SolverState(torch.tensor([0.3]), previous=torch.tensor([2.0]))
    _, preview = advance(start, lambda x: x**2, solver, 0.25, 0.5)
    arrived, last_preview = advance(start, lambda x: x**2, solver, 0.25, 1.0)
    assert torch.equal(preview, arrived.x)
    assert torch.equal(last_preview, arrived.x)


def test_advance_calls_the_velocity_once_at_the_present_point() -> None:
    asked = []

    def velocity(x: Tensor) -> Tensor:
        asked.append(x)
        return -x

    start = SolverState(torch.tensor([2.0]))
    state, _ = advance(start, velocity, adams_bashforth_2, 0.0, 0.5)
    assert asked == [start.x]
    assert state.previous == -2


def test_published_names() -> None:
    assert SOLVERS["euler"] is euler
    assert SOLVERS["adams-bashforth-2"] is adams_bashforth_2
