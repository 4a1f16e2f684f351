import argparse
import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from dar.convert.checkpoint import read_checkpoint
from dar.errors import DARError
from tests.convert import published


class Runs:
    """Unpickling this calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def test_what_a_tokenizer_file_holds(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(published.save_tokenizer(tmp_path / "tokenizer.pt"))
    assert checkpoint.averaged
    assert checkpoint.steps == 7
    assert checkpoint.arguments == {"vq_model": "VQ-16", "lr": 2e-4}
    assert checkpoint.settings == published.settings()
    assert checkpoint.weights["quantize.embedding.weight"].any()  # those under ema; model's are zero


def test_what_a_prior_file_holds(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(published.save_prior(tmp_path / "prior.pt"))
    assert not checkpoint.averaged
    assert checkpoint.settings is None
    assert "tok_embeddings.weight" in checkpoint.weights  # without the compiled model's prefix


def test_ordered_dictionaries_and_parameters_are_plain_enough(tmp_path: Path) -> None:
    weights = OrderedDict(weight=torch.nn.Parameter(torch.ones(2)))
    torch.save({"model": weights, "args": argparse.Namespace(lr=1)}, tmp_path / "file.pt")
    assert read_checkpoint(tmp_path / "file.pt").weights["weight"].tolist() == [1, 1]


@pytest.mark.parametrize("place", ["model", "args", "config", "steps", "elsewhere"])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "system"), (eval, "eval"), (getattr, "getattr"), (os.remove, "remove"), (Path, "Path")],
)
def test_a_file_that_wants_to_run_something_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, function: Callable[..., Any], name: str
) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    arguments = {
        "system": (f"rm {victim}",),
        "eval": (f"__import__('os').remove({str(victim)!r})",),
        "getattr": ("text", "upper"),
        "remove": (str(victim),),
        "Path": (str(victim),),
    }
    content = {"model": {"weight": torch.ones(2)}, place: Runs(function, *arguments[name])}
    torch.save(content, tmp_path / "hostile.pt")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("something was built"))
    with pytest.raises(DARError, match=rf"hostile.pt wants to use \S*{name}, .* nothing of it was loaded"):
        read_checkpoint(tmp_path / "hostile.pt")
    assert victim.exists()


@pytest.mark.parametrize("protocol", [0, 3, 4, 5])
def test_other_pickle_protocols_run_nothing_either(tmp_path: Path, protocol: int) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    file = tmp_path / "hostile.pt"
    torch.save({"model": Runs(os.remove, str(victim))}, file, pickle_protocol=protocol)
    with pytest.raises(DARError, match=r"hostile.pt"):
        read_checkpoint(file)
    file.write_bytes(pickle.dumps(Runs(os.remove, str(victim)), protocol=protocol))
    with pytest.raises(DARError, match=r"not a published .pt file"):
        read_checkpoint(file)
    assert victim.exists()


def test_allowed_classes_are_never_the_real_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Config:
        def __new__(cls) -> "Config":
            raise AssertionError("this ran")

    module = ModuleType("config_util")
    module.Config = Config  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "config_util", module)
    file = published.save(tmp_path / "file.pt", {"model": {"weight": torch.ones(2)}}, {"model": {"depth": 1}})
    assert read_checkpoint(file).settings == {"depth": 1}


def test_a_truncated_file_is_told(tmp_path: Path) -> None:
    whole = published.save_prior(tmp_path / "whole.pt").read_bytes()
    for length in (40, 2000, len(whole) // 2, len(whole) - 10):
        (tmp_path / "part.pt").write_bytes(whole[:length])
        with pytest.raises(DARError, match=r"part.pt is truncated or damaged: download it again"):
            read_checkpoint(tmp_path / "part.pt")


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (b"", "an empty file"),
        (b"\x80\x02}q\x00.", "an old PyTorch file or a bare pickle"),
        (b"GGUF\x03\x00", "a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html>", "a web page: the download failed"),
        (b'{"a": 1}', "a JSON file"),
        (b"\x89PNG\r\n", "a picture"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b"\x40\x00\x00\x00\x00\x00\x00\x00{}", "a safetensors file"),
        (b"hello", "something else"),
    ],
)
def test_a_file_of_another_kind_is_told_by_its_looks(tmp_path: Path, content: bytes, looks: str) -> None:
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(DARError, match=f"file.pt is not a published .pt file but {looks}"):
        read_checkpoint(tmp_path / "file.pt")


def test_an_archive_without_a_checkpoint_is_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "file.pt", "w") as archive:
        archive.writestr("letter.txt", "dear")
    with pytest.raises(DARError, match=r"file.pt is not a published .pt file but another zip archive"):
        read_checkpoint(tmp_path / "file.pt")


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(DARError, match=r"cannot be read .*: give a published .pt file"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([1, 2], "holds a list"),
        ({"epoch": 3}, "has no weights under 'model' or 'ema'$"),
        ({"state_dict": {}}, "looks like a PyTorch Lightning"),
        ({"lvl_embed.weight": torch.ones(1)}, "looks like VAR"),
        ({"model": {}}, "has no weights"),
        ({"model": {"weight": "text"}}, "'weight', which is no tensor of real numbers"),
        ({"model": {3: torch.ones(1)}}, "3, which is no tensor"),
        ({"model": {"weight": torch.ones(1, dtype=torch.int64)}}, "'weight', which is no tensor of real numbers"),
    ],
)
def test_content_of_another_kind_is_told(tmp_path: Path, content: Any, complaint: str) -> None:
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(DARError, match=f"file.pt .*{complaint}"):
        read_checkpoint(tmp_path / "file.pt")


def test_what_other_libraries_allow_is_refused_too(tmp_path: Path) -> None:
    """Importing transformers lets torch load classes of torch.distributed; they are not ours to allow."""
    import transformers.modeling_utils  # noqa: F401

    program = b"\x80\x02ctorch.distributed.device_mesh\nDeviceMesh\nX\x03\x00\x00\x00cpu]K\x00a\x86R."
    with zipfile.ZipFile(tmp_path / "mesh.pt", "w") as archive:
        archive.writestr("mesh/data.pkl", program)
        archive.writestr("mesh/version", "3")
    with pytest.raises(DARError, match=r"wants to use torch\.distributed\.device_mesh\.DeviceMesh"):
        read_checkpoint(tmp_path / "mesh.pt")


@pytest.mark.parametrize("program", [b"\x80\x02X\x01", b"\x80\x02K\x01Q.", b"\x80\x02X\x01\0\0\0aQ.", b"", b"."])
def test_nonsense_gets_one_sentence(tmp_path: Path, program: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "odd.pt", "w") as archive:
        archive.writestr("odd/data.pkl", program)
        archive.writestr("odd/version", "3")
    with pytest.raises(DARError, match=r"odd\.pt is truncated or damaged: download it again"):
        read_checkpoint(tmp_path / "odd.pt")


def repacked(source: Path, target: Path, method: int) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    return target


def test_a_file_that_was_packed_again_is_refused(tmp_path: Path) -> None:
    whole = published.save_prior(tmp_path / "whole.pt")
    with pytest.raises(DARError, match="packed again, with compression"):
        read_checkpoint(repacked(whole, tmp_path / "deflated.pt", zipfile.ZIP_DEFLATED))


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    file = published.save_prior(tmp_path / "prior.pt")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(DARError, match=r"the checksum of prior/data/\d+ is wrong\): download it again"):
        read_checkpoint(file)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(2).to_sparse(),
        torch.empty(2, device="meta"),
        torch.ones(2, dtype=torch.complex64),
        torch.ones(1).expand(10**9),
    ],
    ids=["sparse", "meta", "complex", "stretched"],
)
def test_tensors_of_odd_kinds_get_one_sentence(tmp_path: Path, tensor: torch.Tensor) -> None:
    torch.save({"model": {"weight": tensor}}, tmp_path / "odd.pt")
    with pytest.raises(DARError, match=r"odd\.pt") as caught:
        read_checkpoint(tmp_path / "odd.pt")
    assert len(str(caught.value).splitlines()) == 1


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    torch.save({"model": {"weight": torch.ones(2), "_orig_mod.weight": torch.zeros(2)}}, tmp_path / "twice.pt")
    with pytest.raises(DARError, match="has two tensors named weight"):
        read_checkpoint(tmp_path / "twice.pt")


@pytest.mark.parametrize("average", [None, {}])
def test_an_empty_average_is_passed_over(tmp_path: Path, average: object) -> None:
    torch.save({"model": {"weight": torch.ones(2)}, "ema": average}, tmp_path / "file.pt")
    assert not read_checkpoint(tmp_path / "file.pt").averaged


def test_a_command_line_of_another_kind_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {"weight": torch.ones(2)}, "args": {"n_head": 2}}, tmp_path / "file.pt")
    with pytest.raises(DARError, match="holds a dict under 'args'"):
        read_checkpoint(tmp_path / "file.pt")
