import itertools
import os
import signal
import subprocess
import sys

import pytest

from dar.data import (
    in_workers,
)
from dar.errors import DARError


def kill_itself_at_three(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def refuse_three(item: int) -> int:
    if item == 3:
        raise DARError("three is too much: use two")
    return item


def test_killed_worker_is_told_in_one_sentence() -> None:
    handler = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(DARError, match=r"worker process that decodes images died.*lower the number of workers"):
        list(in_workers(kill_itself_at_three, range(100), workers=2))
    assert signal.getsignal(signal.SIGCHLD) == handler


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_keep_the_order_and_pass_errors_on(workers: int) -> None:
    results = in_workers(refuse_three, iter(range(7)), workers)
    assert list(itertools.islice(results, 3)) == [0, 1, 2]
    with pytest.raises(DARError, match=r"^three is too much: use two$"):
        next(results)


def test_a_program_can_end_while_workers_are_still_wanted() -> None:
    program = (
        "import itertools, sys; from dar.data import in_workers; "
        "sys.kept = in_workers(abs, itertools.count(), workers=2); print(next(sys.kept))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "0\n"


@pytest.mark.parametrize("workers", [-1, 10**9])
def test_more_processes_than_a_machine_can_bear_are_refused(workers: int) -> None:
    with pytest.raises(DARError, match=f"workers must be a number from 0 to 256, not {workers}"):
        next(in_workers(abs, range(7), workers))
