"""Keys and values of the tokens that rows have seen; rows may have seen different numbers of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


class TokenCache:
    """Keys and values of R rows in L layers.

    Args:
        tensors: L x 2 x R x H x S x C; what lies beyond a row's length is never looked at.
        lengths: how many tokens each row has seen; None means none.

    Attributes:
        tensors: extended in place.
        lengths: of R rows.
    """

    def __init__(self, tensors: Tensor, lengths: Sequence[int] | None = None) -> None:
        self.tensors = tensors
        self.lengths = [0] * tensors.shape[2] if lengths is None else list(lengths)

    @property
    def room(self) -> int:
        """The most tokens that a row may see."""
        return self.tensors.shape[4]

    def place(self, new: int) -> "Place":
        """Find the place of so many new tokens of each row."""
        return Place.of(self.lengths, new, self.room, self.tensors.device)

    def extend(self, counts: Sequence[int]) -> None:
        """Note that each row has seen so many more tokens."""
        self.lengths = [length + count for length, count in zip(self.lengths, counts, strict=True)]

    def select(self, rows: Sequence[int]) -> Self:
        """Copy some rows, in any order, also more than once."""
        return type(self)(self.tensors[:, :, list(rows)], [self.lengths[row] for row in rows])

    def put(self, rows: Sequence[int], part: "TokenCache") -> None:
        """Replace some rows by those of another cache, in place."""
        self.tensors[:, :, list(rows)] = part.tensors
        for row, length in zip(rows, part.lengths, strict=True):
            self.lengths[row] = length

    @classmethod
    def joined(cls, caches: Sequence["TokenCache"]) -> Self:
        """Copy the rows of several caches of one model into one."""
        lengths = [length for cache in caches for length in cache.lengths]
        return cls(torch.cat([cache.tensors for cache in caches], dim=2), lengths)


@dataclass(frozen=True)
class Place:
    """Where new tokens of R rows stand.

    Attributes:
        positions: T, where all rows have seen as many tokens; else R x T.
        end: one more than the last position of any row.
        mask: True where a new token may see a position, T x end or R x 1 x T x end; None where it may see all.
    """

    positions: Tensor
    end: int
    mask: Tensor | None

    @classmethod
    def of(cls, lengths: Sequence[int], new: int, room: int, device: torch.device) -> Self:
        """Place new tokens after what each row has seen; each token sees itself and what is before it."""
        start, end = lengths[0], max(lengths) + new
        if all(length == start for length in lengths):
            positions = torch.arange(start, end, device=device)
            return cls(positions, end, None if new == 1 else torch.arange(end, device=device) <= positions[:, None])
        end = min(end, room)
        starts = torch.tensor(lengths, device=device)
        return cls.at((starts[:, None] + torch.arange(new, device=device)).clamp(max=end - 1), end)

    @classmethod
    def at(cls, positions_RT: Tensor, end: int) -> Self:
        """Place tokens at positions of each row's own; each sees what is before it, up to ``end``."""
        mask = torch.arange(end, device=positions_RT.device) <= positions_RT[..., None]
        return cls(positions_RT, end, mask[:, None])

    def store(self, kept_NRHSC: Tensor, new_RTNHC: Tensor) -> Tensor:
        """Write N kinds of vectors, such as keys and values, at the positions; return N x R x H x end x C."""
        if self.positions.dim() == 1:
            start = self.end - len(self.positions)
            kept_NRHSC[..., start : self.end, :] = new_RTNHC.permute(2, 0, 3, 1, 4)
        else:
            rows = torch.arange(len(new_RTNHC), device=new_RTNHC.device)[:, None]
            kept_NRHSC.permute(1, 3, 0, 2, 4)[rows, self.positions] = new_RTNHC.type_as(kept_NRHSC)
        return kept_NRHSC[..., : self.end, :]


def seen_mask(lengths: Sequence[int], device: torch.device) -> Tensor | None:
    """Mark what each row has seen, R x 1 x 1 x S, for those who may look at all of it; None where rows are equal."""
    longest = max(lengths)
    if min(lengths) == longest:
        return None
    return (torch.arange(longest, device=device) < torch.tensor(lengths, device=device)[:, None])[:, None, None]
