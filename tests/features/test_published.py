import hashlib
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from dar.errors import DARError
from dar.features.published import PublishedFile, download, locate, read_tensors
from dar.storage import save_tensors

LAYOUT = {"layer.weight": (2, 3)}
REMEDY = "bring it yourself"


def published(path: Path, content: bytes) -> PublishedFile:
    path.write_bytes(content)
    return PublishedFile(path.as_uri(), hashlib.sha256(content).hexdigest(), aliases=("known_as.pth",))


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.mark.usefixtures("online")
def test_a_file_is_downloaded_once(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    file = published(tmp_path / "weights.pth", b"weights")
    assert download(file, tmp_path / "cache", REMEDY).read_bytes() == b"weights"
    (tmp_path / "weights.pth").unlink()
    assert download(file, tmp_path / "cache", REMEDY) == tmp_path / "cache" / "weights.pth"


@pytest.mark.usefixtures("online")
def test_a_download_of_another_hash_is_refused_and_not_kept(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    file = published(tmp_path / "weights.pth", b"weights")
    (tmp_path / "weights.pth").write_bytes(b"wrights")
    with pytest.raises(DARError, match=r"no longer holds the published weights .*invalid hash.*: bring it yourself"):
        download(file, tmp_path / "cache", REMEDY)
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.usefixtures("online")
def test_a_download_that_fails_is_told(tmp_path: Path) -> None:
    file = PublishedFile((tmp_path / "nowhere.pth").as_uri(), "0" * 64)
    with pytest.raises(DARError, match=r"nowhere\.pth could not be downloaded .*: bring it yourself"):
        download(file, tmp_path, REMEDY)


@pytest.mark.usefixtures("online")
def test_without_a_source_the_user_s_cache_keeps_it(tmp_path: Path) -> None:
    file = published(tmp_path / "of_a_test.pth", b"weights")
    path = locate(file, "", "for_a_test", REMEDY)
    assert path.read_bytes() == b"weights"
    assert "for_a_test" in path.parts
    assert constants.HF_HOME in str(path)


def test_a_folder_may_hold_it_in_either_format_and_by_any_of_its_names(tmp_path: Path) -> None:
    file = PublishedFile("https://example.org/weights-2015.1.pth", "0" * 64, aliases=("known_as.pth",))
    for name in ("known_as.pth", "known_as.safetensors", "weights-2015.1.pth", "weights-2015.1.safetensors"):
        (tmp_path / name).touch()
        assert locate(file, tmp_path, "", REMEDY) == tmp_path / name


def test_a_folder_without_it_is_told(tmp_path: Path) -> None:
    file = published(tmp_path / "weights.pth", b"")
    with pytest.raises(DARError, match=r"holds neither weights\.safetensors nor .* nor known_as\.pth: get it .* bring"):
        locate(file, tmp_path / "elsewhere", "", REMEDY)


def test_tensors_are_read_alike_from_either_format(tmp_path: Path) -> None:
    weight = torch.arange(6, dtype=torch.float16).view(2, 3)
    content = {"layer.weight": weight, "layer.steps": torch.tensor(7)}
    torch.save(content, tmp_path / "a.pth")
    save_tensors(tmp_path / "a.safetensors", content)
    for name in ("a.pth", "a.safetensors"):
        found = read_tensors(tmp_path / name, LAYOUT, "*.steps", REMEDY)
        assert list(found) == ["layer.weight"]
        assert found["layer.weight"].dtype == torch.float32
        assert torch.equal(found["layer.weight"], weight.float())


def test_what_is_not_wanted_is_named(tmp_path: Path) -> None:
    torch.save({"layer.steps": torch.tensor(7)}, tmp_path / "a.pth")
    with pytest.raises(DARError, match=r"missing: layer\.weight; extra: layer\.steps"):
        read_tensors(tmp_path / "a.pth", LAYOUT, "*.other", REMEDY)


class Touching:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    torch.save({"layer.weight": Touching(tmp_path / "touched")}, tmp_path / "a.pth")
    with pytest.raises(DARError, match=r"holds more than tensors.*: bring it yourself"):
        read_tensors(tmp_path / "a.pth", LAYOUT, "", REMEDY)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04torn"])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(DARError, match=r"a\.pth is damaged .*: bring it yourself"):
        read_tensors(tmp_path / "a.pth", LAYOUT, "", REMEDY)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": 1}, {1: torch.zeros(1)}])
def test_a_file_of_something_else_is_told(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(DARError, match=r"a\.pth is no dictionary of tensors: bring it yourself"):
        read_tensors(tmp_path / "a.pth", LAYOUT, "", REMEDY)
