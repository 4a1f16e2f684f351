"""Images on their way from noise, each at a step of its own (docs/architecture.md, steps 3 to 6)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dar.flow import Step
from dar.solvers import Solver, SolverState, advance
from dar.token_cache import TokenCache

if TYPE_CHECKING:
    from dar.tokenizer.model import SequentialDiffusionTokenizer


class DenoisingState:
    """The state of R images: points of their paths, last velocities, and what has been seen of their tokens.

    Args:
        tokenizer: denoises.
        noise_R3HW: standard normal, on the tokenizer's device, in the dtype in which steps add up.
        schedules: the steps of each image.
        solvers: of each image.

    Attributes:
        steps_done: of each image.
        groups_seen: of each image.
    """

    def __init__(
        self,
        tokenizer: "SequentialDiffusionTokenizer",
        noise_R3HW: Tensor,
        schedules: Sequence[Sequence[Step]],
        solvers: Sequence[Solver],
    ) -> None:
        rows, config = len(noise_R3HW), tokenizer.config
        self._tokenizer, self._is_prefix = tokenizer, config.decoder_context == "prefix"
        self._schedules, self._solvers = list(schedules), list(solvers)
        self._x, self._velocities = noise_R3HW, torch.zeros_like(noise_R3HW)
        self._tokens = tokenizer.latent_decoder.new_cache(rows)
        room = config.num_tokens if self._is_prefix else config.tokens_per_group
        self._conditions = tokenizer.diffusion_decoder.new_cache(rows, room)
        self.steps_done, self.groups_seen = [0] * rows, [0] * rows

    def __len__(self) -> int:
        return len(self.steps_done)

    def next_step(self, row: int) -> Step | None:
        """Look up the step that an image takes next; None where all are done."""
        done, schedule = self.steps_done[row], self._schedules[row]
        return schedule[done] if done < len(schedule) else None

    def is_ready(self, row: int) -> bool:
        """Tell whether the group of the next step has been seen; where no step is left, nothing is ready."""
        step = self.next_step(row)
        return step is not None and step.group < self.groups_seen[row]

    @torch.no_grad()
    def see(self, tokens_Rq: Tensor) -> None:
        """Let each image see the tokens of its next group."""
        tokenizer = self._tokenizer
        conditions = tokenizer.latent_decoder(tokenizer.quantizer.lookup(tokens_Rq.to(tokenizer.device)), self._tokens)
        if not self._is_prefix:
            self._conditions.lengths = [0] * len(self)
        tokenizer.diffusion_decoder.see(conditions, self._conditions)
        self.groups_seen = [seen + 1 for seen in self.groups_seen]

    @torch.no_grad()
    def step(self) -> Tensor:
        """Take the next step of every image, with one call of the network; all must be ready.

        Returns:
            The estimates of the final images, R x 3 x H x W in [-1, 1]; after an image's last step, the image.
        """
        steps = [schedule[done] for schedule, done in zip(self._schedules, self.steps_done, strict=True)]
        starts, ends = [step.start for step in steps], [step.end for step in steps]
        state = SolverState(self._x, self._velocities)
        start, end = self._per_row(starts), self._per_row(ends)
        state, previews = advance(state, lambda x: self._velocity(x, starts), self._slopes, start, end)
        assert state.previous is not None
        self._x, self._velocities = state.x, state.previous
        self.steps_done = [done + 1 for done in self.steps_done]
        return (previews / self._tokenizer.config.data_std).clamp(-1, 1)

    def restart(self, noise_R3HW: Tensor) -> None:
        """Begin at other noise; what has been seen of the tokens stays."""
        self._x = noise_R3HW.to(self._x)
        self._velocities = torch.zeros_like(self._x)
        self.steps_done = [0] * len(self)

    def select(self, rows: Sequence[int]) -> "DenoisingState":
        """Copy some images, in any order, also more than once."""
        x, velocities = self._x[list(rows)], self._velocities[list(rows)]
        tokens, conditions = self._tokens.select(rows), self._conditions.select(rows)
        return self._of([(self, row) for row in rows], x, velocities, tokens, conditions)

    def put(self, rows: Sequence[int], part: "DenoisingState") -> None:
        """Replace some images by those of ``part``."""
        index = torch.tensor(rows, device=self._x.device)
        self._x, self._velocities = (
            whole.index_copy(0, index, new) for whole, new in ((self._x, part._x), (self._velocities, part._velocities))
        )
        self._tokens.put(rows, part._tokens)
        self._conditions.put(rows, part._conditions)
        for i, row in enumerate(rows):
            self.steps_done[row], self.groups_seen[row] = part.steps_done[i], part.groups_seen[i]

    @classmethod
    def joined(cls, states: Sequence["DenoisingState"]) -> "DenoisingState":
        """Copy the images of several states of one tokenizer into one."""
        sources = [(state, row) for state in states for row in range(len(state))]
        x, velocities = (torch.cat(each) for each in ([s._x for s in states], [s._velocities for s in states]))
        tokens = TokenCache.joined([state._tokens for state in states])
        return cls._of(sources, x, velocities, tokens, TokenCache.joined([state._conditions for state in states]))

    @classmethod
    def _of(
        cls,
        sources: Sequence[tuple["DenoisingState", int]],
        x: Tensor,
        velocities: Tensor,
        tokens: TokenCache,
        conditions: TokenCache,
    ) -> "DenoisingState":
        """Make a state of tensors, and of what other states say of their rows."""
        made, (first, _) = cls.__new__(cls), sources[0]
        made._tokenizer, made._is_prefix = first._tokenizer, first._is_prefix
        made._x, made._velocities, made._tokens, made._conditions = x, velocities, tokens, conditions
        for name in ("_schedules", "_solvers", "steps_done", "groups_seen"):
            setattr(made, name, [getattr(state, name)[row] for state, row in sources])
        return made

    def _velocity(self, x: Tensor, starts: Sequence[float]) -> Tensor:
        times = starts[:1] if len(set(starts)) == 1 else starts
        t = torch.tensor(times, dtype=torch.float32, device=x.device)
        return self._tokenizer.diffusion_decoder.velocity(x.to(self._tokenizer.dtype), t, self._conditions).type_as(x)

    def _slopes(self, velocities: Tensor, previous: Tensor | None) -> Tensor:
        """Find the slope of each image by its own solver; there is no previous velocity at its first step."""
        assert previous is not None
        kinds = [(solver, done > 0) for solver, done in zip(self._solvers, self.steps_done, strict=True)]
        if len(set(kinds)) == 1:
            solver, has_previous = kinds[0]
            return solver(velocities, previous if has_previous else None)
        slopes = [
            solver(velocity, before if has_previous else None)
            for (solver, has_previous), velocity, before in zip(kinds, velocities, previous, strict=True)
        ]
        return torch.stack(slopes)

    def _per_row(self, times: Sequence[float]) -> float | Tensor:
        """Make times that images can be multiplied by: one number where all are equal, else R x 1 x 1 x 1, float64."""
        if len(set(times)) == 1:
            return times[0]
        return torch.tensor(times, dtype=torch.float64, device=self._x.device).view(-1, 1, 1, 1)
