import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from dar.cli.loading import loading


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_garbage_is_not_looked_for_while_loading() -> None:
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count()


def test_collection_goes_on_when_loading_fails() -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()


def test_a_program_without_collection_keeps_it_so() -> None:
    gc.disable()
    with loading():
        pass
    assert not gc.isenabled()
    assert not gc.get_freeze_count()


def test_commands_leave_nothing_frozen(dar, model: Path, tmp_path: Path) -> None:
    assert dar("generate", "--model", model, "--class", "cat", "--out", tmp_path) == 0
    assert gc.isenabled()
    assert not gc.get_freeze_count()
