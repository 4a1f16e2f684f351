from pathlib import Path

import pytest

from dar.cli import main


@pytest.fixture
def dar(monkeypatch: pytest.MonkeyPatch):
    """Run the command line; returns its exit code."""

    def run(*arguments: str | Path) -> int:
        monkeypatch.setattr("sys.argv", ["dar", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code or 0

    return run
