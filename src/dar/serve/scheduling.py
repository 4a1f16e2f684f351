"""Policies of which waiting job gets the next free slot."""

from collections.abc import Callable, Sequence
from types import MappingProxyType

from dar.errors import DARError, quoted
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


def policy_named(name: str) -> Policy:
    """Look up a policy by its name.

    Raises:
        DARError: if there is none.
    """
    if name not in POLICIES:
        raise DARError(f"there is no policy {quoted(repr(name))}: choose one of {', '.join(POLICIES)}")
    return POLICIES[name]
