"""The Llama that predicts image tokens."""

from typing import TYPE_CHECKING

from dar.lazily import lazily

if TYPE_CHECKING:
    from dar.prior.config import PriorConfig
    from dar.prior.model import Prior

__all__ = ["Prior", "PriorConfig"]

__getattr__, __dir__ = lazily(__name__, {"Prior": "dar.prior.model", "PriorConfig": "dar.prior.config"})
