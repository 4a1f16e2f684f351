from pathlib import Path

import pytest

from dar.cli import main
from dar.pipeline import DARPipeline


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, pipeline: DARPipeline) -> str:
    """Folder of the small random model."""
    folder = tmp_path_factory.mktemp("model")
    pipeline.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def dar(monkeypatch: pytest.MonkeyPatch):
    """Run the command line; returns its exit code."""

    def run(*arguments: str | Path) -> int:
        monkeypatch.setattr("sys.argv", ["dar", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code or 0

    return run
