"""Agreement of a classifier with the labels that images were made for."""

from torch import Tensor

from dar.errors import DARError
from dar.metrics.rows import check_rows


def agreement(logits_NC: Tensor, labels_N: Tensor) -> Tensor:
    """Find the images whose label has the largest logit: N, bool; its mean is the accuracy.

    Args:
        logits_NC: of a classifier of C classes.
        labels_N: whole numbers from 0 to C - 1.

    Raises:
        DARError: if the counts differ, a label is none of the classes, or logits are NaN or infinite.
    """
    check_rows(logits_NC, "rows of logits")
    count, classes = logits_NC.shape
    if labels_N.shape != (count,):
        raise DARError(f"labels of shape {tuple(labels_N.shape)} do not fit {count} images: give one label an image")
    if labels_N.is_floating_point() or labels_N.min() < 0 or labels_N.max() >= classes:
        raise DARError(f"labels must be whole numbers from 0 to {classes - 1}, one of the classifier's classes each")
    return logits_NC.argmax(1) == labels_N
