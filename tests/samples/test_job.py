import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dar.errors import DARError
from dar.generation.settings import GenerationSettings
from dar.pipeline import DARPipeline
from dar.samples import job
from dar.samples.job import sample
from dar.samples.opening import open_samples
from dar.samples.sampling import SampleSettings, identity, rounded
from tests import tiny

SEVEN = SampleSettings(generation=GenerationSettings(steps=2), num=7, chunk=3, classes=(0, 1, 2))


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory, pipeline: DARPipeline) -> Path:
    """Seven images by one process."""
    out = tmp_path_factory.mktemp("samples") / "samples.npz"
    assert sample(pipeline, SEVEN, out)
    return out


def changed(settings: SampleSettings, **changes: Any) -> SampleSettings:
    names = {field.name for field in dataclasses.fields(GenerationSettings)}
    of_generation = {name: changes.pop(name) for name in names & changes.keys()}
    generation = dataclasses.replace(settings.generation, **of_generation)
    return dataclasses.replace(settings, generation=generation, **changes)


def images_in(path: Path) -> torch.Tensor:
    return torch.cat(list(open_samples(path).batches(50)))


def test_each_image_is_the_pipeline_s_for_its_own_seed_and_label(seven: Path, pipeline: DARPipeline) -> None:
    labels = [SEVEN.label(i) for i in range(7)]
    assert open_samples(seven).labels.tolist() == labels
    for i, image in enumerate(images_in(seven)):
        for preview in pipeline.stream([labels[i]], seed=i, guidance_scale=(1.0, 3.0), steps=2):
            alone = rounded(preview.pixels, "adm")[0].permute(2, 0, 1)
        assert (image.int() - alone.int()).abs().max() <= 1  # another batch shape may round differently


def test_numpy_reads_the_samples_and_a_record_tells_of_them(seven: Path, pipeline: DARPipeline) -> None:
    with np.load(seven, allow_pickle=False) as arrays:
        assert (arrays["arr_0"].shape, arrays["arr_0"].dtype) == ((7, 16, 16, 3), np.uint8)
        assert arrays["arr_1"].dtype == np.int64
    record = json.loads(seven.with_suffix(".json").read_text())
    assert record["settings"] == identity(pipeline, SEVEN)
    assert record["file"] == {"sha256": open_samples(seven).hash, "bytes": seven.stat().st_size}
    assert record["images_per_second"] == pytest.approx(7 / record["seconds"])
    assert {"hardware", "versions", "time", "command"} <= record.keys()
    assert sorted(path.name for path in seven.parent.iterdir()) == ["samples.json", "samples.npz"]


def test_two_processes_give_the_same_bytes_whichever_starts_first(
    seven: Path, pipeline: DARPipeline, tmp_path: Path
) -> None:
    out = tmp_path / "samples.npz"
    assert not sample(pipeline, SEVEN, out, process=1, processes=2)
    assert sorted(path.name for path in (tmp_path / "samples.npz.parts").iterdir()) == [
        "chunk-000001.npy",
        "settings.json",
    ]
    assert sample(pipeline, SEVEN, out, process=0, processes=2)
    assert out.read_bytes() == seven.read_bytes()
    assert sample(pipeline, SEVEN, out, process=1, processes=2)  # a late one finds nothing to do
    waiting = threading.Thread(target=lambda: sample(pipeline, SEVEN, tmp_path / "other.npz", process=0, processes=2))
    waiting.start()
    while len(list(tmp_path.glob("other.npz.parts/chunk*"))) < 2:
        time.sleep(0.01)
    assert not (tmp_path / "other.npz").exists()
    sample(pipeline, SEVEN, tmp_path / "other.npz", process=1, processes=2)
    waiting.join(timeout=30)
    assert (tmp_path / "other.npz").read_bytes() == seven.read_bytes()


def test_launched_processes_one_of_them_killed_give_the_same_bytes(
    model: Path, pipeline: DARPipeline, tmp_path: Path
) -> None:
    out, settings = tmp_path / "samples.npz", changed(SEVEN, num=150, chunk=1, steps=1)
    command = [sys.executable, "-m", "dar", "sample", "--model", model, "--out", out, "--steps", "1"]
    command += ["--num", "150", "--chunk", "1"]
    common = os.environ | {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "3"}
    first, second = (
        subprocess.Popen(command, env=common | {"RANK": rank}, stderr=subprocess.DEVNULL) for rank in ("0", "1")
    )
    parts = tmp_path / "samples.npz.parts"
    own = [f"chunk-{chunk:06d}.npy" for chunk in range(1, 150, 3)]
    deadline = time.monotonic() + 60
    while sum((parts / name).exists() for name in own) < 5 and time.monotonic() < deadline:
        time.sleep(0.002)
    second.send_signal(signal.SIGKILL)
    assert second.wait() == -signal.SIGKILL
    times = {name: (parts / name).stat().st_mtime_ns for name in own if (parts / name).exists()}
    assert 5 <= len(times) < 50
    (parts / ".chunk-000149.npy.torn").mkdir()
    for process in (1, 2):
        assert not sample(pipeline, settings, out, process=process, processes=3)
    assert {name: (parts / name).stat().st_mtime_ns for name in times} == times
    assert first.wait(timeout=120) == 0
    assert not parts.exists()
    assert sample(pipeline, settings, tmp_path / "whole.npz")
    assert out.read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_what_a_silent_process_left_is_taken_over(
    seven: Path, pipeline: DARPipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(pipeline, SEVEN, tmp_path / "samples.npz", process=0, processes=3, patience=0.2)
    assert (tmp_path / "samples.npz").read_bytes() == seven.read_bytes()
    said = capsys.readouterr().err
    assert "waiting for 2 chunks of processes 1, 2" in said
    assert "doing 2 chunks of silent processes 1, 2" in said


def test_whoever_joins_later_finds_it_done(
    seven: Path, pipeline: DARPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes 0, one of which joins while the other is about to."""
    out, write = tmp_path / "samples.npz", job.write_samples

    def overtaken(*arguments: Any) -> None:
        monkeypatch.setattr(job, "write_samples", write)
        assert sample(pipeline, SEVEN, out)
        write(*arguments)

    monkeypatch.setattr(job, "write_samples", overtaken)
    assert sample(pipeline, SEVEN, out)
    assert out.read_bytes() == seven.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["samples.json", "samples.npz"]


def test_a_finished_file_is_left_alone(seven: Path, pipeline: DARPipeline) -> None:
    before = seven.stat().st_mtime_ns
    left = seven.with_name("samples.npz.parts")
    left.mkdir()  # as if killed before it was removed
    assert sample(pipeline, SEVEN, seven)
    assert seven.stat().st_mtime_ns == before
    assert not left.exists()
    with pytest.raises(DARError, match=r"samples\.json tells of other samples \(num was 7, now 8; seed was 0, now 9\)"):
        sample(pipeline, changed(SEVEN, num=8, seed=9), seven)
    assert seven.stat().st_mtime_ns == before


def test_going_on_otherwise_than_begun_is_refused(pipeline: DARPipeline, tmp_path: Path) -> None:
    out = tmp_path / "samples.npz"
    sample(pipeline, SEVEN, out, process=1, processes=2)
    with pytest.raises(DARError, match=r"\(top_k was None, now 5\): go on as they were begun, or choose another name"):
        sample(pipeline, changed(SEVEN, top_k=5), out)
    other = tiny.prior()
    with torch.no_grad():
        other.llama.lm_head.weight.neg_()
    with pytest.raises(DARError, match=r"other samples \(prior was"):
        sample(DARPipeline(pipeline.tokenizer, other), SEVEN, out)
    renamed = tiny.tokenizer(dataclasses.replace(tiny.TOKENIZER, time_shift=3.0))
    with pytest.raises(DARError, match=r"other samples \(config was"):
        sample(DARPipeline(renamed, pipeline.prior), SEVEN, out)


def test_other_people_s_files_are_not_touched(pipeline: DARPipeline, tmp_path: Path) -> None:
    out = tmp_path / "samples.npz"
    out.write_text("years of work")
    with pytest.raises(DARError, match=r"samples\.npz exists already, and no samples\.json tells of what"):
        sample(pipeline, SEVEN, out)
    assert out.read_text() == "years of work"
    out.unlink()
    (tmp_path / "samples.json").write_text('{"years": "of work"}')
    with pytest.raises(DARError, match=r"samples\.json does not tell how samples were made: choose another name"):
        sample(pipeline, SEVEN, out)
    (tmp_path / "samples.json").unlink()
    (tmp_path / "samples.npz.parts").mkdir()
    (tmp_path / "samples.npz.parts" / "thesis.txt").touch()
    with pytest.raises(DARError, match=r"holds other files, such as thesis\.txt"):
        sample(pipeline, SEVEN, out)
    with pytest.raises(DARError, match=r"written as an \.npz file, not 'samples\.zip'"):
        sample(pipeline, SEVEN, tmp_path / "samples.zip")
    (tmp_path / "file").touch()
    with pytest.raises(DARError, match="cannot write to"):
        sample(pipeline, SEVEN, tmp_path / "file" / "samples.npz")


@pytest.mark.parametrize("content", [b"", b"torn", None])
def test_a_damaged_chunk_is_named(pipeline: DARPipeline, tmp_path: Path, content: bytes | None) -> None:
    out = tmp_path / "samples.npz"
    sample(pipeline, SEVEN, out, process=1, processes=2)
    chunk = tmp_path / "samples.npz.parts" / "chunk-000001.npy"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-1] if content is None else content)
    with pytest.raises(DARError, match=r"chunk-000001\.npy is damaged .* remove it, and run the same command again"):
        sample(pipeline, SEVEN, out)
    np.save(chunk, np.zeros((2, 16, 16, 3), np.uint8))
    with pytest.raises(DARError, match=r"chunk-000001\.npy does not hold these samples"):
        sample(pipeline, SEVEN, out)
    assert not out.exists()
    chunk.unlink()
    assert sample(pipeline, SEVEN, out)


def test_a_full_disk_is_told(pipeline: DARPipeline, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(DARError, match=r"cannot write .*chunk-000000\.npy .*make room"):
            sample(pipeline, changed(SEVEN, num=50, chunk=50, steps=1), tmp_path / "samples.npz")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_more_samples_start_with_the_fewer(pipeline: DARPipeline, tmp_path: Path) -> None:
    fewer, more = changed(SEVEN, num=6), changed(SEVEN, num=10)
    assert sample(pipeline, fewer, tmp_path / "fewer.npz")
    assert sample(pipeline, more, tmp_path / "more.npz")
    assert torch.equal(images_in(tmp_path / "fewer.npz"), images_in(tmp_path / "more.npz")[:6])
    assert torch.equal(open_samples(tmp_path / "fewer.npz").labels, open_samples(tmp_path / "more.npz").labels[:6])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"solver": "magic"}, "there is no solver"),
        ({"top_p": 0.0}, "top-p must lie"),
        ({"guidance_scale": (1.0, -1.0)}, "guidance scale must be 0 or more"),
        ({"classes": (9,)}, "class index 9 is out of range"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_is_written(
    pipeline: DARPipeline, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(DARError, match=said):
        sample(pipeline, changed(SEVEN, **change), tmp_path / "samples.npz")
    assert not list(tmp_path.iterdir())


def test_a_model_that_gives_no_numbers_makes_no_samples(tmp_path: Path) -> None:
    pipe = DARPipeline(tiny.tokenizer(), tiny.prior())
    with torch.no_grad():
        next(pipe.tokenizer.diffusion_decoder.parameters()).fill_(torch.nan)
    with pytest.raises(DARError, match="images of NaN"):
        sample(pipe, SEVEN, tmp_path / "samples.npz")
    assert not (tmp_path / "samples.npz").exists()


def test_a_file_that_the_record_does_not_tell_of_is_not_taken_for_it(pipeline: DARPipeline, tmp_path: Path) -> None:
    out = tmp_path / "samples.npz"
    sample(pipeline, SEVEN, out)
    others = np.zeros((7, 16, 16, 3), np.uint8)
    np.savez(out, arr_0=others, arr_1=np.zeros(7, np.int64))
    with pytest.raises(DARError, match=r"not the file that samples.json tells of"):
        sample(pipeline, SEVEN, out)
    assert (np.load(out)["arr_0"] == others).all()
