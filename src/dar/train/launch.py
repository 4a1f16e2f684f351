"""What was run: the record that each start of a training leaves."""

import shlex
import sys
from datetime import UTC, datetime
from typing import Any

from dar.environment import git_revision, hardware, versions


def launch_record(data: str, processes: int) -> dict[str, Any]:
    """Command, time, code, versions and hardware of this process.

    Args:
        data: fingerprint of the training data.
        processes: how many train together.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "git_revision": git_revision(),
        "data": data,
        "processes": processes,
        "versions": versions(),
        "hardware": hardware(),
    }
