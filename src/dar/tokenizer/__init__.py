"""The sequential diffusion tokenizer and its parts."""

from typing import TYPE_CHECKING

from dar.lazily import lazily

if TYPE_CHECKING:
    from dar.tokenizer.config import TokenizerConfig
    from dar.tokenizer.model import SequentialDiffusionTokenizer

__all__ = ["SequentialDiffusionTokenizer", "TokenizerConfig"]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "SequentialDiffusionTokenizer": "dar.tokenizer.model",
        "TokenizerConfig": "dar.tokenizer.config",
    },
)
