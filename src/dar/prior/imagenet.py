"""ImageNet's 1000 classes."""

from functools import cache
from importlib.resources import files

NUM_CLASSES = 1000


@cache
def imagenet_classes() -> tuple[str, ...]:
    """List the names of the 1000 classes, in the usual order of their indices (that of the WordNet ids).

    Names that several classes bear are told apart in brackets: crane (bird) is 134, crane (machine) is 517.
    """
    return tuple((files("dar.prior") / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines())


def usual_names(num_classes: int) -> tuple[str, ...]:
    """Name classes where no names are recorded: ImageNet's if there are 1000, else the indices."""
    return imagenet_classes() if num_classes == NUM_CLASSES else tuple(map(str, range(num_classes)))
