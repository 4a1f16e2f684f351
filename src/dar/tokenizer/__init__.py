"""The sequential diffusion tokenizer and its parts."""

from dar.tokenizer.config import TokenizerConfig
from dar.tokenizer.model import SequentialDiffusionTokenizer

__all__ = ["SequentialDiffusionTokenizer", "TokenizerConfig"]
