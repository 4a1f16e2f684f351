import pytest

from dar.cli.options import batch_size, own_device, rank_and_world_size
from dar.errors import DARError


def test_a_process_learns_its_place_from_its_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert rank_and_world_size() == (0, 1)
    assert own_device("cuda") == "cuda"
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert rank_and_world_size() == (5, 8)
    assert [own_device(device) for device in ("cuda", "cuda:3", "cpu")] == ["cuda:1", "cuda:3", "cpu"]


@pytest.mark.parametrize(
    ("rank", "size"), [("2", "2"), ("-1", "2"), ("x", "2"), ("0", ""), ("0", "0"), ("0", "9" * 5000)]
)
def test_places_that_cannot_be_are_refused(monkeypatch: pytest.MonkeyPatch, rank: str, size: str) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(DARError, match="cannot be: RANK counts from 0 to WORLD_SIZE - 1"):
        rank_and_world_size()


@pytest.mark.parametrize("text", ["0", "-1", "x", "", "1.5", "²", "100001", 5000 * "9"])
def test_batches_that_cannot_be_are_refused(text: str) -> None:
    assert batch_size(" Auto") == "auto"
    assert batch_size("100000") == 100_000
    with pytest.raises(DARError, match=r"--batch-size must be a whole number from 1 to 100000, or auto"):
        batch_size(text)
