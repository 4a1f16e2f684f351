"""Solvers of ordinary differential equations, one step at a time, with an explicit state.

A solver is a function of the velocities alone: it says along which slope to move. Previews come for free,
since the slope that leads to the next state also leads all the way to the end of the path.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from dar.checks import whole_number
from dar.errors import DARError, quoted
from dar.fields import MOST_STEPS

if TYPE_CHECKING:
    from torch import Tensor

Solver = Callable[["Tensor", "Tensor | None"], "Tensor"]
"""(velocity now, velocity one step earlier or None at the first step) -> slope to move along."""


def euler(velocity: "Tensor", previous: "Tensor | None") -> "Tensor":
    """Move along the present velocity. First order."""
    return velocity


def adams_bashforth_2(velocity: "Tensor", previous: "Tensor | None") -> "Tensor":
    """Move along 3/2 of the present velocity minus 1/2 of the previous one; the first step is Euler's.

    The weights are those of equal steps and stay fixed when steps are unequal, as in the published results.
    Second order for equal steps.
    """
    return velocity if previous is None else 1.5 * velocity - 0.5 * previous


SOLVERS = MappingProxyType({"euler": euler, "adams-bashforth-2": adams_bashforth_2})


DEFAULT_SOLVER = "adams-bashforth-2"


def solver_named(name: str) -> Solver:
    """Look up a solver by its name.

    Raises:
        DARError: if there is none.
    """
    if not isinstance(name, str) or name not in SOLVERS:
        raise DARError(f"there is no solver {quoted(repr(name))}: choose one of {', '.join(SOLVERS)}")
    return SOLVERS[name]


def check_steps(steps: int | None) -> None:
    """Make sure that a number of denoising steps is valid; None means the model's own.

    Raises:
        DARError: if it is none, less than one, or more than ``MOST_STEPS``.
    """
    if steps is None:
        return
    if whole_number("the number of denoising steps", steps) < 1:
        raise DARError(f"at least 1 denoising step is needed, not {steps}")
    if steps > MOST_STEPS:
        raise DARError(f"at most {MOST_STEPS:,} denoising steps can be taken: ask for fewer")


@dataclass(frozen=True)
class SolverState:
    """State of the integration: the point ``x``, and the last velocity (None before the first step)."""

    x: "Tensor"
    previous: "Tensor | None" = None


def advance(
    state: SolverState,
    velocity: "Callable[[Tensor], Tensor]",
    solver: Solver,
    start: "float | Tensor",
    end: "float | Tensor",
) -> "tuple[SolverState, Tensor]":
    """Take one step from time ``start`` to ``end`` with exactly one call of ``velocity``.

    Args:
        state: point and last velocity at ``start``.
        velocity: the velocity at ``start`` as a function of the point.
        solver: which slope to follow.
        start: time of the state, in [0, 1); or float64 times that broadcast over the points.
        end: time to reach, in (start, 1]; likewise.

    Returns:
        The state at ``end``, and the preview: the point that the same slope reaches at time 1.
    """
    now = velocity(state.x)
    slope = solver(now, state.previous)
    return SolverState(state.x + _times(end - start, slope), now), state.x + _times(1 - start, slope)


def _times(distance: "float | Tensor", slope: "Tensor") -> "Tensor":
    """Multiply in the dtype of the slope, as one number does."""
    return (distance if isinstance(distance, float | int) else distance.to(slope.dtype)) * slope
