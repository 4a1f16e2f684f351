"""Classifier-free guidance: its scale, and the interval of tokens where it acts."""

import math
from dataclasses import dataclass
from typing import Any, Self

from dar.checks import real_number, whole_number
from dar.errors import DARError, quoted


@dataclass(frozen=True)
class Guidance:
    """A scale that is linear over the tokens where guidance acts; 1 leaves the prior as it is.

    Attributes:
        start: scale at the first of these tokens.
        end: scale at the last of them.
        interval: (first, stop): guidance acts on the tokens from ``first``, counted from 0, to the one before ``stop``.
            Elsewhere the scale is 1. None stands for all tokens.

    Raises:
        DARError: at construction, if a scale is negative or not a finite number, or the interval holds no token.
    """

    start: float
    end: float
    interval: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            object.__setattr__(self, name, real_number("a guidance scale", getattr(self, name)))
        if not (0 <= self.start < math.inf and 0 <= self.end < math.inf):
            given = self.start if self.is_constant else (self.start, self.end)
            raise DARError(f"a guidance scale must be 0 or more and finite, not {given}")
        if self.interval is not None:
            first, stop = (whole_number("a token that guidance begins or ends at", token) for token in self.interval)
            if not 0 <= first < stop:
                raise DARError(f"guidance cannot act on tokens {first}-{stop}: FIRST must be 0 or more, and below STOP")
            object.__setattr__(self, "interval", (first, stop))

    @classmethod
    def of(cls, value: Any) -> Self:
        """Make guidance of what callers give: see ``GuidanceLike``.

        Raises:
            DARError: if it is nothing of that kind, or such guidance cannot be.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        parts = list(value) if isinstance(value, list | tuple) else [value, value]
        interval = parts.pop() if len(parts) == 3 and isinstance(parts[2], list | tuple | None) else None
        if len(parts) != 2 or (interval is not None and len(interval) != 2):
            raise DARError(
                f"a guidance scale is one number, (start, end) or (start, end, (first, stop)), not {len(parts)} numbers"
            )
        try:
            start, end = (real_number("a guidance scale", scale) for scale in parts)
        except DARError:
            raise DARError(f"a guidance scale is a number or (start, end), not {quoted(repr(value))}") from None
        return cls(start, end, None if interval is None else tuple(interval))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "3", or "1:3" for a scale that is linear over the tokens; either may end in "@16-64", the interval.

        Raises:
            DARError: if the text is nothing of that kind, or such guidance cannot be.
        """
        scales, at, tokens = text.partition("@")
        start, colon, end = scales.partition(":")
        first, _, stop = tokens.partition("-")
        try:
            numbers = float(start), float(end if colon else start)
            interval = (int(first), int(stop)) if at else None
        except ValueError:
            raise DARError(
                "a guidance scale is a number like 3, or START:END like 1:3, and after it perhaps @FIRST-STOP like "
                f"@16-64, the tokens where it acts, but not {quoted(repr(text))}"
            ) from None
        return cls(*numbers, interval)

    @property
    def is_constant(self) -> bool:
        """Tell whether the scale is the same wherever guidance acts."""
        return self.start == self.end

    def scales(self, num_tokens: int) -> list[float]:
        """Give the scale at each of an image's tokens.

        Raises:
            DARError: if the interval ends beyond them.
        """
        first, stop = self.interval or (0, num_tokens)
        if stop > num_tokens:
            raise DARError(f"guidance {self} ends beyond an image's {num_tokens} tokens: end it at {num_tokens}")
        rise = (self.end - self.start, max(stop - first - 1, 1))
        return [self.start + rise[0] * (i - first) / rise[1] if first <= i < stop else 1.0 for i in range(num_tokens)]

    def values(self) -> tuple[Any, ...]:
        """Give the numbers that ``of`` reads back: (start, end), and the interval where there is one."""
        return (self.start, self.end) if self.interval is None else (self.start, self.end, self.interval)

    def __str__(self) -> str:
        """Format guidance as ``parse`` reads it, with six digits: "3", "1:3", "1:3@16-64"."""
        scales = f"{self.start:g}" if self.is_constant else f"{self.start:g}:{self.end:g}"
        return scales if self.interval is None else "{}@{}-{}".format(scales, *self.interval)


GuidanceLike = Guidance | float | str | tuple[float, float] | tuple[float, float, tuple[int, int]]
"""Guidance as callers may give it: one number for all tokens, (start, end), both with an interval, or a text."""

UNGUIDED = Guidance(1.0, 1.0)
