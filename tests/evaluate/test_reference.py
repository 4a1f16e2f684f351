from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dar.errors import DARError
from dar.evaluate import statistics
from dar.evaluate.reference import load_reference
from dar.features.extractor import Features
from dar.features.inception import Inception
from dar.images import centre_crop, to_pixels, to_uint8
from dar.samples.archive import write_samples
from tests import tiny
from tests.evaluate.animals import Projection, photo, photo_folder

SIZE = tiny.TOKENIZER.image_size


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("animals"), 4)


def uint8_images(count: int = 12, size: int = SIZE) -> torch.Tensor:
    return to_uint8(to_pixels([centre_crop(photo(i), size) for i in range(count)]))


def npz(path: Path, images_B3HW: torch.Tensor, **others: np.ndarray) -> str:  # type: ignore[type-arg]
    np.savez(path, arr_0=images_B3HW.permute(0, 2, 3, 1).numpy(), **others)
    return str(path)


class InceptionLike(Projection):
    """Goes by Inception's name, for what hangs on it alone."""

    name = Inception.name

    def __call__(self, images_B3HW: torch.Tensor) -> Features:
        found = super().__call__(images_B3HW)
        return Features(found.pooled, spatial=found.pooled[:, :3], logits=found.logits)


def test_a_data_set_has_the_statistics_of_its_squares(folder: Path) -> None:
    found = load_reference(str(folder), Projection(), SIZE, batch_size=5)
    expected = Projection()(uint8_images()).pooled
    torch.testing.assert_close(found.mean, expected.double().mean(0))
    torch.testing.assert_close(found.covariance, expected.double().T.cov())
    torch.testing.assert_close(found.pooled, expected)
    assert (found.images, found.image_size, found.spatial_mean) == (12, SIZE, None)


def test_the_hash_is_of_the_pixels_not_of_how_they_are_stored(folder: Path, tmp_path: Path) -> None:
    again = photo_folder(tmp_path / "again", 4)
    first, second = (load_reference(str(where), Projection(), SIZE) for where in (folder, again))
    assert first.hash == second.hash
    (again / "cat" / "000.png").unlink()
    assert load_reference(str(again), Projection(), SIZE).hash != first.hash


def test_images_for_precision_and_recall_are_some_from_all_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = load_reference(str(folder), Projection(), SIZE).pooled
    monkeypatch.setattr(statistics, "NEIGHBOURHOOD_IMAGES", 4)
    found, again = (load_reference(str(folder), Projection(), SIZE, batch_size=size) for size in (5, 12))
    places = [int((everything == row).all(1).nonzero()) for row in found.pooled]
    assert places == sorted(set(places))
    assert len({place // 4 for place in places}) > 1, "of several classes"
    assert torch.equal(found.pooled, again.pooled)
    assert found.images == 12


def test_an_npz_has_the_statistics_of_its_images(tmp_path: Path) -> None:
    found = load_reference(npz(tmp_path / "real.npz", uint8_images()), Projection(), SIZE)
    torch.testing.assert_close(found.mean, Projection()(uint8_images()).pooled.double().mean(0))


def test_under_inception_the_files_own_statistics_are_used(tmp_path: Path) -> None:
    own = {"mu": np.arange(4.0), "sigma": np.eye(4), "mu_s": np.ones(3), "sigma_s": 2 * np.eye(3)}
    path = npz(tmp_path / "VIRTUAL.npz", uint8_images(), **own)
    found = load_reference(path, InceptionLike(), SIZE)
    assert found.mean.tolist() == [0, 1, 2, 3]
    assert found.spatial_covariance is not None
    assert torch.equal(found.spatial_covariance, 2 * torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(found.pooled, InceptionLike()(uint8_images()).pooled)
    assert found.images is None, "the file doesn't tell"
    found.save(tmp_path / "saved.safetensors")
    assert load_reference(str(tmp_path / "saved.safetensors"), InceptionLike(), SIZE).images is None
    other = load_reference(path, Projection(), SIZE)
    torch.testing.assert_close(other.mean, Projection()(uint8_images()).pooled.double().mean(0))


@pytest.mark.parametrize("own", [{"mu": np.arange(4.0)}, {"mu": np.ones(9), "sigma": np.eye(9)}])
def test_statistics_that_are_not_whole_are_refused(tmp_path: Path, own: dict[str, np.ndarray]) -> None:  # type: ignore[type-arg]
    with pytest.raises(DARError, match=r"mu, but not .*mu_s"):
        load_reference(npz(tmp_path / "VIRTUAL.npz", uint8_images(), **own), InceptionLike(), SIZE)


def test_mean_and_covariance_alone_are_enough_for_inception(tmp_path: Path) -> None:
    path = tmp_path / "fid_stats.npz"
    np.savez(path, mu=np.arange(4.0), sigma=np.eye(4))
    found = load_reference(str(path), InceptionLike(), SIZE)
    assert found.mean.tolist() == [0, 1, 2, 3]
    assert found.spatial_mean is None
    assert found.pooled.shape == (0, 4)
    assert found.images is None
    found.save(tmp_path / "saved.safetensors")
    assert load_reference(str(tmp_path / "saved.safetensors"), InceptionLike(), SIZE).pooled.shape == (0, 4)
    with pytest.raises(DARError, match="images must be in arr_0"):
        load_reference(str(path), Projection(), SIZE)


@pytest.mark.parametrize("mu", [np.float64(1), np.ones(3), np.full(4, np.nan), np.array([None])])
def test_mean_and_covariance_that_are_none_are_refused(tmp_path: Path, mu: np.ndarray) -> None:  # type: ignore[type-arg]
    np.savez(tmp_path / "fid_stats.npz", mu=mu, sigma=np.eye(4))
    with pytest.raises(DARError, match=r"fid_stats\.npz has"):
        load_reference(str(tmp_path / "fid_stats.npz"), InceptionLike(), SIZE)


def test_statistics_of_other_dimensions_are_refused(tmp_path: Path) -> None:
    own = {"mu": np.ones(9), "sigma": np.eye(9), "mu_s": np.ones(3), "sigma_s": np.eye(3)}
    with pytest.raises(DARError, match=r"mean of shape \(9,\), not \(4,\)"):
        load_reference(npz(tmp_path / "VIRTUAL.npz", uint8_images(), **own), InceptionLike(), SIZE)


def test_saved_statistics_come_back(folder: Path, tmp_path: Path) -> None:
    found = load_reference(str(folder), InceptionLike(), SIZE)
    found.save(tmp_path / "real.safetensors")
    again = load_reference(str(tmp_path / "real.safetensors"), InceptionLike(), SIZE)
    assert torch.equal(again.pooled, found.pooled.half().float())
    for name, value in vars(replace(found, pooled=again.pooled)).items():
        other = getattr(again, name)
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other
    with pytest.raises(DARError, match="exists already"):
        found.save(tmp_path / "real.safetensors")


def test_features_beyond_float16_are_saved_as_they_are(folder: Path, tmp_path: Path) -> None:
    found = load_reference(str(folder), Projection(), SIZE)
    large = replace(found, pooled=found.pooled * 1e5)
    large.save(tmp_path / "large.safetensors")
    assert torch.equal(load_reference(str(tmp_path / "large.safetensors"), Projection(), SIZE).pooled, large.pooled)


def test_statistics_of_another_extractor_are_refused(folder: Path, tmp_path: Path) -> None:
    found = load_reference(str(folder), Projection(), SIZE)
    found.save(tmp_path / "real.safetensors")
    with pytest.raises(DARError, match=r"statistics of projection .* not of inception-2015"):
        load_reference(str(tmp_path / "real.safetensors"), InceptionLike(), SIZE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mean": torch.zeros(())}, "do not belong together"),
        ({"covariance": torch.zeros(0, 0)}, "do not belong together"),
        ({"mean": torch.full((4,), torch.nan)}, "no finite numbers"),
        ({"pooled": torch.zeros(12, 5)}, "features that are damaged"),
        ({"pooled": torch.full((12, 4), torch.inf)}, "features that are damaged"),
    ],
)
def test_saved_statistics_that_cannot_be_are_refused(
    folder: Path, tmp_path: Path, change: dict[str, torch.Tensor], said: str
) -> None:
    replace(load_reference(str(folder), Projection(), SIZE), **change).save(tmp_path / "real.safetensors")
    with pytest.raises(DARError, match=said):
        load_reference(str(tmp_path / "real.safetensors"), Projection(), SIZE)


def test_a_reference_of_too_few_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DARError, match=r"holds 4 images, too few .* at least 5 are needed"):
        load_reference(npz(tmp_path / "few.npz", uint8_images(4)), Projection(), SIZE)


@pytest.mark.parametrize("mu", [np.array([None]), np.array(["text"]), np.full(4, np.nan)])
def test_statistics_in_an_npz_that_are_no_numbers_are_refused(tmp_path: Path, mu: np.ndarray) -> None:  # type: ignore[type-arg]
    own = {"mu": mu, "sigma": np.eye(4), "mu_s": np.ones(3), "sigma_s": np.eye(3)}
    with pytest.raises(DARError, match=r"VIRTUAL.npz has statistics that"):
        load_reference(npz(tmp_path / "VIRTUAL.npz", uint8_images(), **own), InceptionLike(), SIZE)


def test_a_reference_of_another_resolution_is_refused_before_it_is_looked_at(tmp_path: Path) -> None:
    class Blind(Projection):
        def __call__(self, images_B3HW: torch.Tensor) -> Features:
            raise AssertionError("nothing needs to be looked at")

    with pytest.raises(DARError, match=r"16 x 16 pixels, the samples are of 32 x 32"):
        load_reference(npz(tmp_path / "real.npz", uint8_images()), Blind(), 32)


def test_another_resolution_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DARError, match=r"smaller than the samples' 64 x 64 pixels"):
        load_reference(str(folder), Projection(), 64)
    with pytest.raises(DARError, match=r"16 x 16 pixels, the samples are of 32 x 32"):
        load_reference(npz(tmp_path / "real.npz", uint8_images()), Projection(), 32)


def test_a_safetensors_file_of_something_else_is_refused(tmp_path: Path) -> None:
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    with pytest.raises(DARError, match="no statistics of images"):
        load_reference(str(tmp_path / "model" / "model.safetensors"), Projection(), SIZE)


def test_a_reference_is_of_squares(tmp_path: Path) -> None:
    with pytest.raises(DARError, match="squares"):
        load_reference(npz(tmp_path / "wide.npz", uint8_images()[:, :, :8]), Projection(), SIZE)


@pytest.mark.parametrize("change", [{"images": "many"}, {"image_size": "-1"}, {"more": "x"}, {"source": None}])
def test_saved_statistics_whose_facts_were_changed_are_refused(
    folder: Path, tmp_path: Path, change: dict[str, str | None]
) -> None:
    path = tmp_path / "real.safetensors"
    load_reference(str(folder), Projection(), SIZE).save(path)
    with safe_open(path, framework="pt") as file:
        facts, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    changed = {name: value for name, value in (facts | change).items() if value is not None}
    save_file(tensors, path, changed)
    with pytest.raises(DARError, match="dar evaluate statistics"):
        load_reference(str(path), Projection(), SIZE)
    save_file({name: tensor for name, tensor in tensors.items() if name != "mean"}, path, facts)
    with pytest.raises(DARError, match="holds no statistics"):
        load_reference(str(path), Projection(), SIZE)


def test_samples_written_by_us_can_be_a_reference(tmp_path: Path) -> None:
    images = uint8_images().permute(0, 2, 3, 1).contiguous().numpy()
    write_samples(tmp_path / "s.npz", [images], images.shape, np.zeros(12, np.int64))
    assert load_reference(str(tmp_path / "s.npz"), Projection(), SIZE).images == 12
