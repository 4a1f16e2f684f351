"""Settings of how a token is drawn from its logits, each with its default and its command's help."""

import math
from dataclasses import dataclass, field
from typing import Any

from dar.checks import real_number, whole_number
from dar.errors import DARError


def option(about: str, *, name: str = "", unset: str = "", minimum: int | None = None) -> dict[str, Any]:
    """Make the metadata of a field for the option that commands make of it.

    Args:
        about: its help.
        name: None means the field's.
        unset: what people read where the value is None.
        minimum: of a number; None for none.
    """
    return {"about": about, "name": name, "unset": unset, "minimum": minimum}


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of how a token is drawn from its logits.

    Attributes:
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: only the k likeliest tokens can be drawn; None lets all.
        top_p: only the fewest likeliest tokens whose probabilities reach p can be drawn; 1 lets all.

    Raises:
        DARError: at construction, for a value out of range.
    """

    temperature: float = field(default=1.0, metadata=option("Divides the logits; 0 takes the likeliest token"))
    top_k: int | None = field(
        default=None, metadata=option("Draw among the k likeliest tokens only", unset="all tokens")
    )
    top_p: float = field(default=1.0, metadata=option("Draw among the likeliest tokens of this total probability"))

    def __post_init__(self) -> None:
        if not 0 <= real_number("temperature", self.temperature) < math.inf:
            raise DARError(f"temperature must be 0 or more, not {self.temperature}")
        if self.top_k is not None and whole_number("top-k", self.top_k) < 1:
            raise DARError(
                f"top-k must be at least 1, not {self.top_k}: the number of codebook entries lets all tokens be drawn"
            )
        if not 0 < real_number("top-p", self.top_p) <= 1:
            raise DARError(f"top-p must lie above 0 and at most at 1, not {self.top_p}")
