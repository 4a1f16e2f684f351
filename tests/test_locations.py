"""Folder, then name of the package, then Hub; and what looks like a path stays here."""

import time
from pathlib import Path
from types import SimpleNamespace

import datasets
import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError

from dar.data import open_images
from dar.errors import DARError
from dar.features.loading import load_extractor
from dar.locations import check_on_hub, here, looks_like_path, on_hub
from dar.model_folder import bundled_folder, model_folder
from dar.pipeline import DARPipeline, load_tokenizer
from dar.tokenizer import SequentialDiffusionTokenizer

PATHS = [
    *("/data/photos", "./nope", "../nope", "~/nope", "~", ".", "..", "nope/", "some/nope/"),
    *("photos.parquet", "a/b.tar", "x.NPZ", "weights.safetensors", "picture.jpg", "a/b/c", "photos/train"),
]
HUB_IDS = ["nope", "cifar10", "someone/something", "facebook/dinov2-base", "timm/resnet50.a1_in1k"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """What the Hub was asked; it answers that there is no such thing."""
    asked: list[tuple[str, str | None]] = []

    def repo_info(self: object, name: str, *, repo_type: str | None = None, timeout: float) -> None:
        asked.append((name, repo_type))
        raise HfHubHTTPError("gone", response=SimpleNamespace(status_code=404, headers={}, request=None))  # type: ignore[arg-type]

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", repo_info)
    return asked


@pytest.mark.parametrize("name", PATHS)
def test_what_looks_like_a_path_is_never_searched_on_the_hub(
    name: str, asked: list[tuple[str, str | None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "alone" / "here"  # what is above holds nothing else
    (inner / "photos").mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert looks_like_path(name)
    for load in (model_folder, load_tokenizer, SequentialDiffusionTokenizer.from_pretrained, open_images):
        with pytest.raises(DARError):
            load(name)
    assert not asked


@pytest.mark.parametrize("name", HUB_IDS)
def test_all_else_may_be_on_the_hub(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not looks_like_path(name)
    assert here(name, "model") is None


def test_the_hub_is_asked_once(asked: list[tuple[str, str | None]]) -> None:
    loaders = {"model": (model_folder, load_tokenizer, DARPipeline.from_pretrained), "dataset": (open_images,)}
    for kind, of_kind in loaders.items():
        for load in of_kind:
            with pytest.raises(DARError, match=r"there is no .* nobody/nothing: neither here nor on the Hub"):
                load("nobody/nothing")
            assert asked == [("nobody/nothing", kind)]
            asked.clear()
    with pytest.raises(DARError, match="there is no vision model nobody/nothing: neither here nor on the Hub"):
        load_extractor("nobody/nothing")
    assert asked == [("nobody/nothing", "model")]


@pytest.mark.parametrize(
    ("folder", "is_kept"),
    [
        ("hub/datasets--some-one--My.Photos", True),
        ("datasets/some-one___my_photos", True),
        ("datasets/someone___photos", False),
        ("hub/models--someone--elses", False),
    ],
)
def test_without_the_hub_only_what_was_kept_can_be_had(
    folder: str, is_kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    (tmp_path / folder).mkdir(parents=True)
    if is_kept:
        check_on_hub("some-one/MyPhotos", "dataset", "data set")
    else:
        with pytest.raises(DARError, match="no data set some-one/MyPhotos here, and the Hub cannot be reached"):
            check_on_hub("some-one/MyPhotos", "dataset", "data set")


def test_a_name_that_the_hub_does_not_allow_is_not_asked_for(asked: list[tuple[str, str | None]]) -> None:
    with pytest.raises(DARError, match="there is no model not a name"):
        model_folder("not a name")
    assert not asked


def test_without_the_hub_it_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(self: object, name: str, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", unreachable)
    assert not on_hub("nobody/nothing", "model", "model")
    started = time.monotonic()
    for load in (model_folder, open_images):
        with pytest.raises(DARError, match="nobody/nothing here, and the Hub cannot be reached"):
            load("nobody/nothing")
    assert time.monotonic() - started < 10, "datasets alone would try for 38 seconds"


def test_a_folder_goes_before_the_bundled_model_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_folder("cifar10") == model_folder(None) == bundled_folder()
    (tmp_path / "cifar10").mkdir()
    assert model_folder("cifar10") == bundled_folder(), "a folder of images, perhaps"
    (tmp_path / "cifar10" / "tokenizer").mkdir()
    assert model_folder("cifar10") == Path("cifar10")


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(DARError, match="there is no model at an empty path"):
        model_folder("")
    with pytest.raises(DARError, match="is not the folder of a model: it holds neither tokenizer/ nor"):
        model_folder(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(DARError, match=r"model.safetensors is a file, not the folder of a model"):
        model_folder(tmp_path / "model.safetensors")


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert here("~/model", "model") == tmp_path / "model"
