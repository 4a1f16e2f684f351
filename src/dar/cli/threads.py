"""How waiting threads of a computation sleep."""

import os

SPIN_COUNT = "1000"
"""Number of rounds that a waiting thread spins before it sleeps, some microseconds."""

_SPIN_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""Variables by which users choose how PyTorch's OpenMP runtime waits."""


def share_cores() -> None:
    """Let waiting threads sleep soon, unless the user has chosen otherwise; must come before torch is imported.

    By itself the runtime has them turn for milliseconds. Where other processes want the cores too, a thread then waits,
    turning, for one that is not running (benchmarks/busy_machine.py).
    """
    if not any(name in os.environ for name in _SPIN_VARIABLES):
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
