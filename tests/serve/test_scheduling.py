"""Policies, in a simulation of slots: each job takes as many time steps as it has tokens left."""

from collections.abc import Sequence

import pytest

from dar.generation.settings import GenerationSettings
from dar.serve.jobs import Job
from dar.serve.scheduling import POLICIES, Policy, fewest_tokens, first_come

TOKENS = 64


def job(kept: int, seed: int = 0) -> Job:
    return Job(0, seed, GenerationSettings(), prefix=(0,) * kept)


def simulate(arrivals: Sequence[tuple[int, Job]], slots: int, policy: Policy) -> dict[int, int]:
    """Return the time from arrival to end of each job, by its seed."""
    waiting: list[tuple[int, Job]] = []
    running: list[tuple[int, int, Job]] = []  # end, arrival
    taken, coming, now = {}, sorted(arrivals, key=lambda one: one[0]), 0
    while coming or waiting or running:
        taken |= {done.seed: end - arrival for end, arrival, done in running if end == now}
        running = [one for one in running if one[0] > now]
        waiting += [one for one in coming if one[0] == now]
        coming = [one for one in coming if one[0] > now]
        while waiting and len(running) < slots:
            arrival, chosen = waiting.pop(policy([one for _, one in waiting]))
            running.append((now + TOKENS - len(chosen.prefix), arrival, chosen))
        now += 1
    return taken


ARRIVALS = [(3 * i, job(48 if i % 2 else 0, seed=i)) for i in range(40)]


@pytest.mark.parametrize("policy", POLICIES.values())
def test_every_job_is_served(policy: Policy) -> None:
    assert simulate(ARRIVALS, 4, policy).keys() == set(range(40))


def test_first_come_serves_in_order() -> None:
    taken = simulate([(i, job(0, seed=i)) for i in range(12)], 2, first_come)
    ends = [taken[i] + i for i in range(12)]
    assert ends == sorted(ends)


def test_fewest_tokens_first_shortens_the_mean() -> None:
    fair, short = (simulate(ARRIVALS, 4, policy) for policy in (first_come, fewest_tokens))
    assert sum(short.values()) < 0.8 * sum(fair.values())
    assert max(short.values()) > max(fair.values())


def test_equal_jobs_keep_their_order() -> None:
    assert fewest_tokens([job(8), job(40), job(40), job(8)]) == 1
