"""Forms in which callers name classes."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Class = str | int | np.integer[Any] | Tensor
"""A class's name, or its index: a whole number of Python, NumPy or torch."""

Classes = Class | Iterable[Class] | NDArray[np.integer[Any]]
"""A class, or several: a list, or an array or tensor of indices."""
