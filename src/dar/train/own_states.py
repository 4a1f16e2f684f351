"""Training on the states that the sampler reaches by its own steps, and not only on the straight path.

A step's small errors take the sampler off the path on which the velocity was learned. From such a state the decoder is
taught to end at the image all the same: by the losses on the predicted image, since the flow's target is not defined
there.
"""

from functools import partial

import torch
from torch import Tensor

from dar.solvers import SolverState, advance, euler
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.tokenizer.output import ReachedStates


def own_ticks(count: int, share: float, num_steps: int, training_step: int) -> Tensor:
    """Choose before which denoising step each image of a batch is taken from the sampler's own path.

    The images are spread evenly over the batch, and all steps but the first have their turn.

    Args:
        count: B, images of the batch.
        share: of them that are taken from there, 0 to 1.
        num_steps: S, denoising steps.
        training_step: with it, the turn goes on.

    Returns:
        B, int64: 1 to S - 1, or 0 where an image is taken from the straight path.
    """
    if num_steps < 2:
        return torch.zeros(count, dtype=torch.int64)
    ranks = (torch.arange(1, count + 1, dtype=torch.float64) * share).floor().long()  # own images up to each one
    own = ranks.diff(prepend=torch.zeros(1, dtype=torch.int64)) > 0
    turn = training_step * int(ranks[-1])
    return torch.where(own, 1 + (ranks + turn) % (num_steps - 1), 0)


@torch.no_grad()
def reach(tokenizer: SequentialDiffusionTokenizer, pixels: Tensor, noise: Tensor, ticks: Tensor) -> ReachedStates:
    """Take the sampler's first Euler steps on the images' own tokens.

    Args:
        tokenizer: in training.
        pixels: B x 3 x H x W in [-1, 1].
        noise: B x 3 x H x W standard normal, where the sampler begins.
        ticks: B, int64, on the CPU: how many steps it takes; 0 leaves the image out.

    Returns:
        On the device of the noise.
    """
    (own,) = ticks.nonzero(as_tuple=True)
    conditions_BND = tokenizer.condition(tokenizer.encode(pixels[own]))
    x, ticks_of_own = noise[own], ticks[own]
    for i, step in enumerate(tokenizer.clock.schedule(tokenizer.config.num_steps)):
        (going,) = (ticks_of_own > i).nonzero(as_tuple=True)
        if not len(going):
            break
        condition = tokenizer.context(conditions_BND[going], step.group)
        velocity = partial(tokenizer.velocity, t=step.start, condition_BSD=condition)
        state, _ = advance(SolverState(x[going]), velocity, euler, step.start, step.end)
        x[going] = state.x
    states = noise.clone()
    states[own] = x
    return ReachedStates((ticks > 0).to(noise.device), states)
