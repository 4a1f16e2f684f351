"""Squared distances between rows of features, a block at a time, as the ADM evaluator rounds them."""

from collections.abc import Iterator

import torch
from torch import Tensor

from dar.errors import DARError

BLOCK = 10_000
"""Rows and columns of distances that share a precision."""

TILE = 1000
"""Rows of a block that are computed at a time; a matter of memory alone."""


def runs(count: int) -> Iterator[slice]:
    """Yield the slices that cut ``count`` rows into blocks."""
    return (slice(begin, begin + BLOCK) for begin in range(0, count, BLOCK))


def blocks(rows_ND: Tensor) -> tuple[Tensor, ...]:
    """Cut rows into those that share a precision."""
    return rows_ND.split(BLOCK)


def tiles(rows: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a block into parts that are small enough to compute with."""
    return rows.split(TILE, dim)


def smallest(distances_NM: Tensor, count: int) -> Tensor:
    """Find the ``count`` smallest of each row, or all if they are fewer: N x count, float32, ascending."""
    return distances_NM.topk(min(count, distances_NM.shape[1]), largest=False).values.float()


def distances(u_ND: Tensor, v_MD: Tensor) -> Tensor:
    """Compute squared Euclidean distances of one block, N x M: float16 if that holds all of them, else float32.

    Raises:
        DARError: if float32 cannot hold them either.
    """
    for dtype in (torch.float16, torch.float32):
        distances_NM = _distances_in(dtype, u_ND, v_MD)
        if distances_NM is not None:
            return distances_NM
    raise DARError("the squares of some features are beyond float32: scale the features down")


def _distances_in(dtype: torch.dtype, u_ND: Tensor, v_MD: Tensor) -> Tensor | None:
    """Compute |u|^2 - 2 u v + |v|^2, every step rounded to the type, none below zero; None if a step overflows."""
    u_ND, v_MD = u_ND.to(dtype), v_MD.to(dtype)
    u_norms_N, v_norms_M = (x.square().sum(1, dtype=torch.float32).to(dtype) for x in (u_ND, v_MD))
    v_DM = v_MD.float().T
    distances_NM = u_ND.new_empty(len(u_ND), len(v_MD))
    for rows, norms, tile in zip(tiles(u_ND), tiles(u_norms_N), tiles(distances_NM), strict=True):
        products = (rows.float() @ v_DM).to(dtype)
        torch.sub(norms[:, None], 2 * products, out=tile)
        tile += v_norms_M
        if not tile.isfinite().all():
            return None
        tile.clamp_(min=0)
    return distances_NM
