"""The Llama that predicts image tokens."""

from dar.prior.config import PriorConfig
from dar.prior.model import Prior

__all__ = ["Prior", "PriorConfig"]
