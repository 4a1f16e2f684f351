"""Policies of which waiting job gets the next free slot."""

from collections.abc import Callable, Sequence
from types import MappingProxyType

from dar.serve.jobs import Job

Policy = Callable[[Sequence[Job]], int]
"""Waiting jobs, the oldest first -> index of the one to start."""


def first_come(waiting: Sequence[Job]) -> int:
    """Start the job that has waited longest."""
    return 0


def fewest_tokens(waiting: Sequence[Job]) -> int:
    """Start the job with the fewest tokens left to draw; of equal ones the oldest.

    Jobs that keep many tokens overtake others, which shortens the mean wait; others wait while enough of them come.
    """
    return max(range(len(waiting)), key=lambda i: (len(waiting[i].prefix), -i))


POLICIES = MappingProxyType({"first-come": first_come, "fewest-tokens": fewest_tokens})
