import json
import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dar.errors import DARError
from dar.files import CONFIG, check_regular_file, read_json, write_json, writing
from dar.pipeline import DARPipeline
from dar.prior import Prior
from dar.storage import (
    ALIGNMENT,
    WEIGHTS,
    load_tensors,
    load_weights,
    open_tensors,
    parameters_without_memory,
    save_tensors,
    save_weights,
    stream_tensors,
    tensor_start,
)
from dar.tokenizer import SequentialDiffusionTokenizer
from tests import tiny


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def write_half(path: Path) -> None:
    with writing(path) as aside:
        aside.write_text("half")
        (path.parent / "missing").read_text()


def test_writing_puts_a_file_in_place(tmp_path: Path) -> None:
    with writing(tmp_path / "new" / "file") as aside:
        aside.write_text("whole")
        assert not (tmp_path / "new" / "file").exists()
    assert (tmp_path / "new" / "file").read_text() == "whole"
    assert listing(tmp_path / "new") == ["file"]


def test_writing_puts_a_folder_in_place(tmp_path: Path) -> None:
    with writing(tmp_path / "folder") as aside:
        aside.mkdir()
        (aside / "inner").write_text("whole")
    assert listing(tmp_path) == ["folder", "folder/inner"]


def test_writing_leaves_nothing_behind_when_the_block_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_half(tmp_path / "file")
    assert listing(tmp_path) == []


def test_writing_leaves_nothing_behind_when_ctrl_c_comes_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, pressed = shutil.rmtree, []

    def interrupted(*arguments: object, **options: object) -> None:
        if not pressed:
            pressed.append(True)
            raise KeyboardInterrupt
        remove(*arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), writing(tmp_path / "file") as aside:
        aside.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_writing_keeps_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(FileNotFoundError):
        write_half(path)
    assert path.read_text() == "old"
    with writing(path) as aside:
        aside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert listing(tmp_path) == ["file"]


def test_writing_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DARError, match=r"cannot write to .*file.*another output folder"),
        writing(tmp_path / "file" / "x"),
    ):
        pass


def test_json_round_trip(tmp_path: Path) -> None:
    content = {"name": "Äpfel", "sizes": [1, 2.5], "none": None}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"new": object()})
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert listing(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"half": ', "cannot be read as JSON"),
        (b"", "cannot be read as JSON"),
        (b"\xff\xfe\x00", "cannot be read as JSON"),
        (b"[1, 2]", "holds a list, not a JSON object"),
    ],
)
def test_bad_json_is_refused_by_name(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(DARError, match=f"bad.json {complaint}"):
        read_json(tmp_path / "bad.json")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DARError, match=r"gone.json does not exist"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(DARError, match=r"gone.safetensors does not exist"):
        load_tensors(tmp_path / "gone.safetensors")


def test_tensors_round_trip_whatever_their_layout(tmp_path: Path) -> None:
    tensors = {
        "turned": torch.arange(6.0).view(2, 3).T,
        "half": torch.ones(2, dtype=torch.bfloat16, requires_grad=True),
        "whole": torch.tensor([2**40]),
        "scalar": torch.tensor(1.5),
    }
    save_tensors(tmp_path / "a.safetensors", tensors, {"step": "3"})
    assert_same(load_tensors(tmp_path / "a.safetensors"), tensors)
    with open_tensors(tmp_path / "a.safetensors") as file:
        assert file.metadata() == {"step": "3"}


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_truncated_tensors_are_refused_by_name(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"weight": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DARError, match=r"a.safetensors is not a whole safetensors file"):
        load_tensors(path)


def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(3)}, tmp_path / "a.safetensors")
    with pytest.raises(DARError, match=r"a.safetensors is not a whole safetensors file"):
        load_tensors(tmp_path / "a.safetensors")


def test_tensors_are_as_readable_as_any_other_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    save_tensors(tmp_path / "a.safetensors", {"weight": torch.ones(1)})
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_load_weights_fills_the_model_in_its_own_dtype(tmp_path: Path) -> None:
    weight, bias = torch.tensor([[0.5, 1.0]]), torch.tensor([0.25])
    save_tensors(tmp_path / WEIGHTS, {"weight": weight.bfloat16(), "bias": bias.bfloat16()})
    model = nn.Linear(2, 1)
    load_weights(model, tmp_path / WEIGHTS)
    assert_same(state(model), {"weight": weight, "bias": bias})


def test_load_weights_names_all_that_does_not_fit_and_changes_nothing(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    before = state(model)
    wrong = {name: torch.zeros_like(tensor) for name, tensor in before.items()}
    del wrong["0.bias"], wrong["1.bias"]
    wrong |= {"more": torch.ones(1), "yet.more": torch.ones(1), "1.weight": torch.ones(4, 2)}
    save_tensors(tmp_path / WEIGHTS, wrong)
    with pytest.raises(DARError) as caught:
        load_weights(model, tmp_path / WEIGHTS)
    message = str(caught.value)
    assert WEIGHTS in message
    assert "missing: 0.bias, 1.bias" in message
    assert "extra: more, yet.more" in message
    assert "mis-shaped: 1.weight (is (4, 2), should be (4, 3))" in message
    assert_same(state(model), before)


@pytest.fixture
def saved(tmp_path: Path, tokenizer: SequentialDiffusionTokenizer) -> Path:
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_model_round_trip_is_exact(saved: Path, tokenizer: SequentialDiffusionTokenizer) -> None:
    loaded = SequentialDiffusionTokenizer.from_pretrained(saved)
    assert loaded.config == tokenizer.config
    assert not loaded.training
    assert_same(state(loaded), state(tokenizer))


def test_saving_a_model_below_a_file_is_refused(tmp_path: Path, tokenizer: SequentialDiffusionTokenizer) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DARError, match="cannot write to"):
        tokenizer.save_pretrained(tmp_path / "file" / "model")


def test_saving_over_a_model_replaces_it(saved: Path) -> None:
    other = tiny.randomise(SequentialDiffusionTokenizer(tiny.TOKENIZER), seed=9)
    other.save_pretrained(saved)
    assert_same(state(SequentialDiffusionTokenizer.from_pretrained(saved)), state(other))


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_model_folder_without_a_file_is_refused(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(DARError, match=f"{name} does not exist"):
        SequentialDiffusionTokenizer.from_pretrained(saved)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"num_tokens": 9}, "config.json.*num_tokens 9 is not a multiple of num_groups 4"),
        ({"image_size": "16"}, "config.json.*image_size must be a whole number"),
        ({"codebook_size": 64}, r"mis-shaped: quantizer.codebook \(is \(32, 8\), should be \(64, 8\)\)"),
    ],
)
def test_model_whose_settings_do_not_fit_is_refused(saved: Path, change: dict[str, object], complaint: str) -> None:
    (saved / CONFIG).write_text(json.dumps(json.loads((saved / CONFIG).read_text()) | change))
    with pytest.raises(DARError, match=complaint):
        SequentialDiffusionTokenizer.from_pretrained(saved)


def test_streamed_tensors_are_read_back(tmp_path: Path) -> None:
    tensors = {
        "a": torch.arange(6.0).view(2, 3),
        "empty": torch.zeros(0, 4),
        "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "turned": torch.arange(12.0).view(3, 4).T,
        "scalar": torch.tensor(7.0, dtype=torch.float64),
    }
    stream_tensors(tmp_path / "x.safetensors", tensors, iter(tensors.items()))
    back = load_tensors(tmp_path / "x.safetensors")
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype for name, tensor in tensors.items())


def test_a_stream_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    def breaking() -> Iterator[tuple[str, torch.Tensor]]:
        yield "a", torch.ones(2)
        raise RuntimeError("the source is gone")

    with pytest.raises(RuntimeError, match="gone"):
        stream_tensors(tmp_path / "x.safetensors", {"a": torch.ones(2), "b": torch.ones(2)}, breaking())
    assert not list(tmp_path.iterdir())


def test_tensors_start_where_it_is_said(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(5, dtype=torch.int32), "b": torch.arange(3)}
    save_tensors(tmp_path / "x.safetensors", tensors)
    content = (tmp_path / "x.safetensors").read_bytes()
    for name, tensor in tensors.items():
        start = tensor_start(tmp_path / "x.safetensors", name)
        assert content[start : start + tensor.nbytes] == tensor.numpy().tobytes()


@pytest.mark.timeout(60)
def test_pipes_sockets_and_devices_are_told_from_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name, kind in (("pipe", "named pipe"), ("link", "named pipe"), ("socket", "socket")):
            with pytest.raises(DARError, match=f"{name} is a {kind}, not a file: write its content to a file"):
                check_regular_file(tmp_path / name)
    with pytest.raises(DARError, match="/dev/zero is a device, not a file"):
        check_regular_file(Path("/dev/zero"))
    for read in (read_json, load_tensors):
        with pytest.raises(DARError, match="pipe is a named pipe, not a file"):
            read(tmp_path / "pipe")


def test_files_folders_and_what_is_missing_are_left_to_their_readers(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path, tmp_path / "file", tmp_path / "link", tmp_path / "loop", tmp_path / "gone", Path("a\0b")):
        check_regular_file(path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what is mapped")
def test_weights_that_need_no_conversion_are_mapped(model: Path) -> None:
    prior = Prior.from_pretrained(model / "prior")
    path = str(model / "prior" / WEIGHTS)
    starts = [line.split("-")[0] for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(path)]
    assert any(0 <= next(prior.parameters()).data_ptr() - int(start, 16) < 1 << 20 for start in starts)


def test_weights_are_aligned_in_files_and_in_memory(tmp_path: Path) -> None:
    odd = nn.ParameterDict({"a": nn.Parameter(torch.ones(3)), "b": nn.Parameter(torch.ones(32))})
    save_weights(tmp_path / WEIGHTS, odd)
    assert tensor_start(tmp_path / WEIGHTS, "b") % ALIGNMENT == 0
    for write in (save_weights, lambda path, model: save_tensors(path, model.state_dict())):
        write(tmp_path / WEIGHTS, odd)
        load_weights(odd, tmp_path / WEIGHTS)
        assert all(parameter.data_ptr() % ALIGNMENT == 0 for parameter in odd.values())


def test_mapped_weights_compute_the_same_to_the_bit(pipeline: DARPipeline, model: Path) -> None:
    mapped = DARPipeline.from_pretrained(model)
    assert torch.equal(mapped("cat", seed=3).pixels, pipeline("cat", seed=3).pixels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loaded_weights_can_be_trained_and_the_file_stays(model: Path, dtype: torch.dtype) -> None:
    path = model / "prior" / WEIGHTS
    before, prior = path.read_bytes(), Prior.from_pretrained(model / "prior", dtype=dtype).train()
    assert all(parameter.requires_grad for parameter in prior.parameters())
    optimizer = torch.optim.SGD(prior.parameters(), lr=1.0)
    logits = prior(torch.tensor([0]), torch.zeros(1, prior.config.num_tokens, dtype=torch.int64))
    logits.float().logsumexp(-1).sum().backward()
    optimizer.step()
    assert path.read_bytes() == before
    assert not torch.equal(prior.llama.lm_head.weight.float(), load_tensors(path)["llama.lm_head.weight"])


def test_loading_leaves_no_tensor_without_values(model: Path) -> None:
    prior = Prior.from_pretrained(model / "prior")
    tokenizer = SequentialDiffusionTokenizer.from_pretrained(model / "tokenizer")
    for loaded in (prior, tokenizer):
        assert not any(tensor.is_meta for tensor in (*loaded.parameters(), *loaded.buffers()))
    assert_same(dict(tokenizer.named_buffers()), dict(tiny.tokenizer().named_buffers()))
    assert_same(dict(prior.named_buffers()), dict(tiny.prior().named_buffers()))


def test_modules_of_other_threads_have_their_memory() -> None:
    made: list[nn.Module] = []
    with parameters_without_memory():
        thread = threading.Thread(target=lambda: made.append(nn.Linear(2, 2)))
        thread.start()
        thread.join()
        assert nn.Linear(2, 2).weight.is_meta
    assert not made[0].weight.is_meta
    assert not nn.Linear(2, 2).weight.is_meta


def test_weights_are_filled_in_the_models_own_dtype(tmp_path: Path) -> None:
    wanted = nn.Linear(3, 2)
    save_tensors(tmp_path / WEIGHTS, wanted.state_dict())
    with parameters_without_memory():
        model = nn.Linear(3, 2, dtype=torch.bfloat16)
    load_weights(model, tmp_path / WEIGHTS)
    assert_same(state(model), {name: tensor.bfloat16() for name, tensor in wanted.state_dict().items()})
