"""Optimizers: AdamW, or Muon for the matrices inside a model's blocks and AdamW for the rest."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dar.train.recipe import TrainingRecipe


def make_optimizer(model: nn.Module, recipe: TrainingRecipe) -> torch.optim.Optimizer:
    """Make the recipe's optimizer of a model's parameters; only matrices decay."""
    hidden = hidden_matrices(model) if recipe.optimizer == "muon" else []
    chosen = set(hidden)
    others = _adamw([parameter for parameter in model.parameters() if parameter not in chosen], recipe)
    if not hidden:
        return others
    # With this scale its updates are as large as AdamW's, so that one learning rate serves both.
    muon = torch.optim.Muon(
        hidden, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return Together([muon, others])


def hidden_matrices(model: nn.Module) -> list[Tensor]:
    """Find the weights of linear layers inside lists of blocks: not embeddings, codebook, first or last layers."""
    blocks = [block for blocks in model.modules() if isinstance(blocks, nn.ModuleList) for block in blocks]
    layers = [layer for block in blocks for layer in block.modules() if isinstance(layer, nn.Linear)]
    return list(dict.fromkeys(layer.weight for layer in layers))


def _adamw(parameters: Iterable[nn.Parameter], recipe: TrainingRecipe) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves vectors alone."""
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for parameter in parameters:
        (matrices if parameter.dim() >= 2 else vectors).append(parameter)
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, fused=True)


class Together(torch.optim.Optimizer):
    """Several optimizers of different parameters that step as one; groups and states are shared with them.

    Args:
        parts: the optimizers.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        groups = [group for part in parts for group in part.param_groups]
        super().__init__([parameter for group in groups for parameter in group["params"]], {})
        self.parts, self.param_groups = parts, groups
        for part in parts:
            part.state = self.state

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Let each take its step; there is no closure to call."""
        for part in self.parts:
            part.step()
