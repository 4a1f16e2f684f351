import torch
from torch import nn

from dar.train.ema import AveragedModel


def test_average_follows_the_closed_form() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    averaged = AveragedModel(model, decay=0.5)
    nn.init.ones_(model.weight)
    averaged.update(step=0)  # decay 1/10
    torch.testing.assert_close(averaged.model.weight.item(), 0.9)
    averaged.update(step=1000)  # decay 0.5
    torch.testing.assert_close(averaged.model.weight.item(), 0.95)
    assert not averaged.model.training
    assert not averaged.model.weight.requires_grad
