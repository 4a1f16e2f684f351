"""Drawing image tokens from a prior, one by one."""

from collections.abc import Iterator

from torch import Tensor

from dar.prior.drawing import Sampling
from dar.prior.guidance import UNGUIDED, Guidance
from dar.prior.model import Prior
from dar.prior.state import DrawingState, RowSettings


def generate_tokens(
    prior: Prior,
    classes_B: Tensor,
    uniforms_BN: Tensor,
    guidance: Guidance = UNGUIDED,
    sampling: Sampling | None = None,
    prefix_BP: Tensor | None = None,
) -> Iterator[Tensor]:
    """Generate N image tokens, one column at a time.

    Args:
        prior: the model.
        classes_B: B class indices, int64.
        uniforms_BN: B x N numbers in [0, 1), float64, one a token: all the randomness there is.
        guidance: its scale at each token; by default unguided.
        sampling: how tokens are drawn; by default plain sampling.
        prefix_BP: B x P first tokens to keep instead of generating them.

    Yields:
        N times B tokens, int64, on the model's device; the prefix's first.
    """
    scales = tuple(guidance.scales(prior.config.num_tokens))
    prefix_BP = classes_B.new_empty(len(classes_B), 0) if prefix_BP is None else prefix_BP
    yield from prefix_BP.to(prior.device).unbind(1)
    left = prior.config.num_tokens - prefix_BP.shape[1]
    if left:
        settings = [RowSettings(scales, sampling or Sampling())] * len(classes_B)
        state = DrawingState(prior, classes_B, uniforms_BN, settings, prefix_BP)
        for _ in range(left):
            yield state.draw()
