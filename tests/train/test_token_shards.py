import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dar.data import ImageDataset
from dar.errors import DARError
from dar.images import centre_crop, to_pixels
from dar.tokenizer import SequentialDiffusionTokenizer, TokenizerConfig
from dar.train.token_manifest import Manifest, read_manifest
from dar.train.token_shards import TokenShards
from dar.train.tokenization import crops, square_side, tokenize_images
from tests import tiny
from tests.train.photos import CLASSES, photo_folder


@pytest.fixture(scope="module")
def data(photos: Path) -> ImageDataset:
    return ImageDataset(photos)


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: SequentialDiffusionTokenizer, data: ImageDataset
) -> Path:
    """Twelve images in three shards, ten views each; copy it to change it."""
    folder = tmp_path_factory.mktemp("shards")
    assert tokenize_images(tokenizer, data, folder, views=10, shard_size=5)
    return folder


@pytest.fixture
def shards(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "copy")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def all_rows(shards: TokenShards, view: int) -> torch.Tensor:
    images = torch.arange(len(shards))
    return shards.rows(images, torch.full_like(images, view))


def test_files_are_named_and_described(written: Path) -> None:
    names = [f"shard-0000{i}-of-00003.safetensors" for i in range(3)]
    assert sorted(contents(written)) == ["manifest.json", *names]
    manifest = read_manifest(written)
    assert (manifest.images, manifest.views, manifest.num_tokens, manifest.class_names) == (12, 10, 8, CLASSES)
    first, last = load_file(written / names[0]), load_file(written / names[2])
    assert first["tokens"].dtype == torch.uint16
    assert first["tokens"].shape == (5, 10, 8)
    assert (last["labels"].tolist(), last["indices"].tolist()) == ([1, 1], [10, 11])


def explicit_crops(image: Image.Image) -> list[Image.Image]:
    """Ten-crop of 16 pixels, by Pillow: round(1.1 * 16) = 18."""
    square = centre_crop(image, 18)
    corners = [(0, 0), (2, 0), (0, 2), (2, 2), (1, 1)]  # left, top
    found = [square.crop((left, top, left + 16, top + 16)) for left, top in corners]
    return found + [crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for crop in found]


def test_ten_views_are_corners_and_centre_and_their_mirror_images(
    written: Path, tokenizer: SequentialDiffusionTokenizer, data: ImageDataset
) -> None:
    tokens = TokenShards(written)
    for i in (0, 7):
        expected = tokenizer.encode(to_pixels(explicit_crops(data.example(i)[0])))
        assert torch.equal(tokens.rows(torch.full((10,), i), torch.arange(10)), expected)


def test_crops_are_pillow_s(data: ImageDataset) -> None:
    image = data.example(3)[0]
    square = to_pixels([centre_crop(image, 18)])
    expected = to_pixels(explicit_crops(image))
    assert torch.equal(crops(square, 16, 10)[0], expected)
    assert len({view.numpy().tobytes() for view in expected}) == 10
    plain = to_pixels([centre_crop(image, 16)])
    assert torch.equal(crops(plain, 16, 1)[0], plain)
    assert torch.equal(crops(plain, 16, 2)[0], torch.cat([plain, plain.flip(-1)]))


def test_one_and_two_views(tokenizer: SequentialDiffusionTokenizer, data: ImageDataset, tmp_path: Path) -> None:
    for views in (1, 2):
        tokenize_images(tokenizer, data, tmp_path / str(views), views=views)
    images = [centre_crop(data.example(i)[0], 16) for i in range(12)]
    mirrored = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images]
    one, two = TokenShards(tmp_path / "1"), TokenShards(tmp_path / "2")
    assert torch.equal(all_rows(one, 0), tokenizer.encode(to_pixels(images)))
    assert torch.equal(all_rows(two, 0), all_rows(one, 0))
    assert torch.equal(all_rows(two, 1), tokenizer.encode(to_pixels(mirrored)))
    assert one.labels.tolist() == [0] * 6 + [1] * 6


def test_rows_come_in_any_order_from_any_shard(written: Path) -> None:
    tokens = TokenShards(written)
    stored = torch.cat([load_file(path)["tokens"].int() for path in sorted(written.glob("*.safetensors"))])
    images, views = torch.tensor([11, 0, 4, 5, 5, 9, 10]), torch.tensor([9, 0, 3, 3, 4, 7, 0])
    found = tokens.rows(images, views)
    assert found.dtype == torch.int64
    assert torch.equal(found, stored[images, views].long())
    assert tokens.labels.dtype == torch.int32


@pytest.mark.parametrize(("batch_size", "workers"), [(7, 0), (64, 2)])
def test_batch_size_and_workers_change_no_token(
    written: Path,
    data: ImageDataset,
    tokenizer: SequentialDiffusionTokenizer,
    tmp_path: Path,
    batch_size: int,
    workers: int,
) -> None:
    tokenize_images(tokenizer, data, tmp_path, views=10, shard_size=5, batch_size=batch_size, workers=workers)
    assert contents(tmp_path) == contents(written)


def test_processes_share_the_work_without_duplicates_or_gaps(
    written: Path, data: ImageDataset, tokenizer: SequentialDiffusionTokenizer, tmp_path: Path
) -> None:
    def work(process: int) -> bool:
        return tokenize_images(tokenizer, data, tmp_path, views=10, shard_size=5, process=process, processes=2)

    assert not work(1)
    assert [path.name for path in tmp_path.glob("shard*")] == ["shard-00001-of-00003.safetensors"]
    with pytest.raises(DARError, match=r"shard-00000-of-00003\.safetensors is missing: run dar tokenize again"):
        TokenShards(tmp_path)
    assert work(0)
    assert contents(tmp_path) == contents(written)


def test_finished_shards_are_not_redone_by_any_number_of_processes(
    shards: Path, data: ImageDataset, tokenizer: SequentialDiffusionTokenizer
) -> None:
    expected = contents(shards)
    (shards / "shard-00001-of-00003.safetensors").unlink()
    times = {path.name: path.stat().st_mtime_ns for path in shards.glob("shard*")}
    assert not tokenize_images(tokenizer, data, shards, views=10, shard_size=5, process=0, processes=3)
    assert tokenize_images(tokenizer, data, shards, views=10, shard_size=5)
    assert contents(shards) == expected
    assert all((shards / name).stat().st_mtime_ns == time for name, time in times.items())


def test_killed_run_leaves_nothing_to_redo(tokenizer: SequentialDiffusionTokenizer, tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos", per_class=60)
    tokenizer.save_pretrained(tmp_path / "model")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "dar", "tokenize", "--data", photos, "--model", tmp_path / "model"]
    command += ["--out", out, "--ten-crop", "--shard-size", "2"]
    run = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(out.glob("shard-*"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.002)
    run.send_signal(signal.SIGKILL)
    run.wait()
    finished = list(out.glob("shard-*"))
    assert 5 <= len(finished) < 60
    times = {path: path.stat().st_mtime_ns for path in finished}
    (out / ".shard-00059-of-00060.safetensors.left").mkdir(exist_ok=True)
    data = ImageDataset(photos)
    assert tokenize_images(tokenizer, data, out, views=10, shard_size=2)
    assert tokenize_images(tokenizer, data, tmp_path / "whole", views=10, shard_size=2)
    assert contents(out) == contents(tmp_path / "whole")
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_broken_images_are_left_out_and_named(
    tokenizer: SequentialDiffusionTokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = photo_folder(tmp_path / "photos")
    for i in range(5):
        (photos / "bright" / f"{i}.png").write_bytes(b"\x89PNG torn")
    assert tokenize_images(tokenizer, ImageDataset(photos), tmp_path / "out", views=1, shard_size=5)
    tokens = TokenShards(tmp_path / "out")
    assert tokens.labels.tolist() == [0] + [1] * 6
    named = json.loads((tmp_path / "out" / "manifest.json").read_text())["broken"]
    assert len(named) == 5
    assert str(photos / "bright" / "3.png") in named[3]
    whole = tokenizer.encode(to_pixels([centre_crop(ImageDataset(photos).example(5)[0], 16)]))
    assert torch.equal(all_rows(tokens, 0)[:1], whole)
    assert load_file(tmp_path / "out" / "shard-00001-of-00003.safetensors")["indices"].tolist() == list(range(5, 10))
    assert "5 of 12 images" in "".join(capsys.readouterr())


def test_too_many_broken_images_stop_it(tokenizer: SequentialDiffusionTokenizer, tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos", per_class=7)
    for path in sorted(photos.rglob("*.png"))[1:]:
        path.write_bytes(b"no image")
    with pytest.raises(DARError, match=r"11 of the first 12 images of .* raise max_broken_share; first: .*1\.png"):
        tokenize_images(tokenizer, ImageDataset(photos), tmp_path / "a", views=1, batch_size=12)
    assert tokenize_images(tokenizer, ImageDataset(photos), tmp_path / "b", views=1, max_broken_share=1)
    for path in photos.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DARError, match="none of the 14 images"):
        tokenize_images(tokenizer, ImageDataset(photos), tmp_path / "c", views=1, max_broken_share=1)


def test_other_content_is_not_touched(
    data: ImageDataset, tokenizer: SequentialDiffusionTokenizer, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DARError, match=r"holds other files, such as thesis\.txt"):
        tokenize_images(tokenizer, data, tmp_path, views=1)
    assert list(contents(tmp_path)) == ["thesis.txt"]


def test_resuming_otherwise_than_begun_is_refused(shards: Path, data: ImageDataset, tmp_path: Path) -> None:
    before = contents(shards)
    changed = tiny.tokenizer()
    with torch.no_grad():
        changed.encoder.out.weight.neg_()
    with pytest.raises(DARError, match="made with another tokenizer, views: go on as they were begun"):
        tokenize_images(changed, data, shards, views=2, shard_size=5)
    others = ImageDataset(photo_folder(tmp_path / "others"))
    with pytest.raises(DARError, match="made with another data, shard_size"):
        tokenize_images(tiny.tokenizer(), others, shards, views=10, shard_size=6)
    assert contents(shards) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format is 2"),
        ({"views": 3}, "views must be 1, 2 or 10"),
        ({"images": 10**30}, "it does not belong to manifest.json|is missing"),
        ({"shard_size": 0}, "shard_size must be at least 1, not 0"),
        ({"num_tokens": True}, "num_tokens must be a whole number, not True"),
        ({"tokenizer": None}, "tokenizer must be text"),
        ({"class_names": "cat"}, "class_names must be a list of names"),
        ({"class_names": [1]}, "class_names must be a list of names"),
        ({"class_names": ["one"]}, "it does not belong to manifest.json"),
        ({"codebook_size": 4}, "it does not belong to manifest.json"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_hostile_manifest_is_refused_in_one_sentence(shards: Path, change: dict[str, object], said: str) -> None:
    path = shards / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DARError, match=said) as caught:
        TokenShards(shards)
    assert "\n" not in str(caught.value)


def test_manifest_that_is_missing_or_no_json_is_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(DARError, match="holds no tokens: make them with dar tokenize"):
        TokenShards(tmp_path)
    (shards / "manifest.json").write_text("{")
    with pytest.raises(DARError, match="cannot be read as JSON"):
        TokenShards(shards)
    (shards / "manifest.json").write_text("{}")
    with pytest.raises(DARError, match="class_names must be"):
        TokenShards(shards)


def test_truncated_shard_is_refused_by_both_sides(
    shards: Path, data: ImageDataset, tokenizer: SequentialDiffusionTokenizer
) -> None:
    path = shards / "shard-00001-of-00003.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DARError, match=r"shard-00001-of-00003\.safetensors is not a whole safetensors file"):
        TokenShards(shards)
    with pytest.raises(DARError, match=r"shard-00001-of-00003\.safetensors is not a whole safetensors file"):
        tokenize_images(tokenizer, data, shards, views=10, shard_size=5)


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("tokens", torch.zeros(2, 10, 8), "tokens are torch.float32"),
        ("tokens", torch.zeros(2, 9, 8, dtype=torch.uint16), "tokens are"),
        ("labels", torch.tensor([0, 2], dtype=torch.int32), "labels are not of these classes"),
        ("labels", torch.zeros(3, dtype=torch.int32), "labels are"),
        ("indices", torch.tensor([10, 12]), "indices are of another shard"),
        ("indices", torch.tensor([11, 11]), "indices do not increase"),
        ("indices", torch.tensor(3), "is not a shard of these tokens"),
        ("extra", None, "is not a shard of these tokens"),
    ],
)
def test_shard_with_other_content_is_refused(shards: Path, name: str, tensor: torch.Tensor | None, said: str) -> None:
    path = shards / "shard-00002-of-00003.safetensors"
    said_of_it = json.dumps({"manifest": read_manifest(shards).identity, "broken": []})
    tensors = load_file(path)
    if tensor is None:
        del tensors["indices"]
    else:
        tensors[name] = tensor
    save_file(tensors, path, {"dar": said_of_it})
    with pytest.raises(DARError, match=said) as caught:
        TokenShards(shards)
    assert "\n" not in str(caught.value)


def test_tokens_outside_the_codebook_are_refused_when_read(shards: Path) -> None:
    path = shards / "shard-00002-of-00003.safetensors"
    tensors = load_file(path)
    tensors["tokens"].view(torch.int16)[0, 0, 0] = 32000
    save_file(tensors, path, {"dar": json.dumps({"manifest": read_manifest(shards).identity, "broken": []})})
    tokens = TokenShards(shards)
    tokens.rows(torch.tensor([9]), torch.tensor([0]))
    with pytest.raises(DARError, match="no codebook entry"):
        tokens.rows(torch.tensor([10]), torch.tensor([0]))


def test_shard_that_shrinks_meanwhile_is_told(shards: Path) -> None:
    tokens = TokenShards(shards)
    path = shards / "shard-00000-of-00003.safetensors"
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(DARError, match="has become shorter"):
        tokens.rows(torch.tensor([4]), torch.tensor([9]))


def test_more_shards_than_files_may_be_open(
    data: ImageDataset, tokenizer: SequentialDiffusionTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenize_images(tokenizer, data, tmp_path / "many", views=1, shard_size=1)
    tokenize_images(tokenizer, data, tmp_path / "one", views=1)
    monkeypatch.setattr("dar.train.token_shards.OPEN_FILES", 3)
    many = TokenShards(tmp_path / "many")
    assert all(torch.equal(all_rows(many, 0), all_rows(TokenShards(tmp_path / "one"), 0)) for _ in range(2))


def synthetic(folder: Path, images: int, config: TokenizerConfig) -> Path:
    """A folder of zeros in the layout of a tokenizer's ten-crop."""
    manifest = {
        "tokenizer": "", "data": "", "source": "", "class_names": ("a",), "views": 10, "images": images,
        "codebook_size": config.codebook_size, "num_tokens": config.num_tokens, "shard_size": images,
    }  # fmt: skip
    described = Manifest(**manifest)
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    tensors = {
        "tokens": torch.zeros(images, 10, config.num_tokens, dtype=described.dtype),
        "labels": torch.zeros(images, dtype=torch.int32),
        "indices": torch.arange(images),
    }
    said = {"dar": json.dumps({"manifest": described.identity, "broken": []})}
    save_file(tensors, described.shard(folder, 0), said)
    return folder


def test_imagenet_with_ten_views_fits_into_7_gigabytes(tmp_path: Path) -> None:
    def size(images: int) -> int:
        folder = synthetic(tmp_path / str(images), images, TokenizerConfig())
        return next(folder.glob("shard*")).stat().st_size

    a_image = (size(300) - size(100)) / 200
    assert a_image == pytest.approx(10 * 256 * 2 + 12, abs=0.1)
    shards = -(-1_281_167 // 8192)
    assert 1_281_167 * a_image + shards * 4096 < 7e9


def test_reading_rows_does_not_load_the_file(tmp_path: Path) -> None:
    folder = synthetic(tmp_path / "big", 40_000, TokenizerConfig())
    assert next(folder.glob("shard*")).stat().st_size > 200e6
    program = f"""
import torch
from pathlib import Path
from dar.train.token_shards import TokenShards
def resident(): return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
before = resident()
tokens = TokenShards({str(folder)!r})
tokens.rows(torch.arange(0, 40_000, 400), torch.arange(100) % 10)
print((resident() - before) / 1e6)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 60


def test_square_side_of_the_published_size() -> None:
    assert (square_side(256, 1), square_side(256, 2), square_side(256, 10)) == (256, 256, 282)
