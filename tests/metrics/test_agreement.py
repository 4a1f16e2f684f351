import math

import pytest
import torch

from dar.errors import DARError
from dar.metrics.agreement import agreement

LOGITS = torch.tensor([[0.1, 3.0, -1.0], [-5.0, -6.0, -4.0], [2.0, 1.0, 0.0], [0.0, 0.0, 0.5]])


def test_says_which_agree() -> None:
    assert agreement(LOGITS, torch.tensor([1, 2, 1, 2])).tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([1, 2, 1]), r"labels of shape \(3,\) do not fit 4 images"),
        (torch.zeros(4, 1, dtype=torch.long), r"labels of shape \(4, 1\)"),
        (torch.tensor([1, 2, 1, 3]), "whole numbers from 0 to 2"),
        (torch.tensor([1, 2, 1, -1]), "whole numbers from 0 to 2"),
        (torch.tensor([1.0, 2.0, 1.5, 0.0]), "whole numbers from 0 to 2"),
    ],
)
def test_labels_that_do_not_fit(labels: torch.Tensor, message: str) -> None:
    with pytest.raises(DARError, match=message):
        agreement(LOGITS, labels)


def test_logits_that_are_none() -> None:
    with pytest.raises(DARError, match="4 of 4 rows of logits hold NaN"):
        agreement(LOGITS * math.nan, torch.tensor([1, 2, 1, 2]))
    with pytest.raises(DARError, match="0 rows of logits are too few"):
        agreement(LOGITS[:0], torch.zeros(0, dtype=torch.long))
