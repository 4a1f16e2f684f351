"""One launch a token on a GPU: the step of a decoder as CUDA graphs.

A step is some hundred kernels of a few microseconds each, which take longer to launch from Python than to run.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor, int], Tensor]
"""Vocabulary ids R x 1, their positions R x 1, and up to which position to look -> logits R x V."""

BUCKET = 64
"""Positions: attention reads the filled part of the cache, rounded up to these, so that few graphs serve all tokens."""


class StepGraphs:
    """Graphs of the step by which each of R rows sees one more token, bound to one cache.

    Args:
        step: computes logits and extends the cache; always with the same tensors but for its arguments.
        tensors: of the cache, L x 2 x R x H x S x C.
    """

    def __init__(self, step: Step, tensors: Tensor) -> None:
        rows, room = tensors.shape[2], tensors.shape[4]
        self.tensors = tensors
        self._step, self._most = step, room - 1
        self._ids = torch.zeros(rows, 1, dtype=torch.int64, device=tensors.device)
        self._positions = torch.zeros_like(self._ids)
        self._lengths = [0] * rows  # that positions on the device stand for
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def logits(self, ids_R1: Tensor, lengths: list[int]) -> Tensor:
        """Let each row see one token: R x V, float32.

        Args:
            ids_R1: vocabulary ids.
            lengths: tokens that each row has seen before.
        """
        if lengths != self._lengths:
            self._positions.copy_(torch.tensor(lengths)[:, None].clamp(max=self._most))
        self._ids.copy_(ids_R1)
        end = bucket(max(lengths) + 1, self._most)
        if end not in self._graphs:
            self._graphs[end] = self._captured(end)
        graph, logits = self._graphs[end]
        graph.replay()
        self._lengths = [length + 1 for length in lengths]
        return logits.to(torch.float32, copy=True)  # the next replay writes over it

    def _captured(self, end: int) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """Record a step; the runs before it write what the step itself will write."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):  # libraries choose kernels and take memory at their first calls
                self._step(self._ids, self._positions, end)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = self._step(self._ids, self._positions, end)
            self._positions.add_(1).clamp_(max=self._most)
        return graph, logits


def bucket(needed: int, most: int) -> int:
    """Round a number of positions up to buckets, up to the most that there are."""
    return min(-(-needed // BUCKET) * BUCKET, most)
