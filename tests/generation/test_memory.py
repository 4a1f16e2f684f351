import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from dar.errors import DARError
from dar.generation import memory
from dar.generation.memory import image_memory, packed_bytes, settled_batch_size
from dar.pipeline import DARPipeline

CPU = torch.device("cpu")


def peak(call: Callable[[], object], folder: Path) -> int:
    """The most bytes that torch held at one time beyond what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    profiler.export_chrome_trace(str(folder / "trace.json"))
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    held = most = 0
    for event in sorted((one for one in events if one.get("name") == "[memory]"), key=lambda one: one["ts"]):
        held += event["args"]["Bytes"]
        most = max(most, held)
    return most


def check_prediction(pipe: DARPipeline, folder: Path, images: tuple[int, int], **settings: object) -> None:
    """Compare what each image beyond the first few takes with the prediction."""
    pipe("cat", **settings)  # makes what is kept
    few, many = (peak(lambda count=count: pipe(["cat"] * count, **settings), folder) for count in images)
    measured = (many - few) / (images[1] - images[0])
    predicted = image_memory(
        pipe.tokenizer.config,
        pipe.prior.config,
        pipe.dtype,
        guided=settings.get("guidance_scale") != 1,
        keeps_tokens="kept_tokens" in settings,
    ).peak
    assert predicted / 2 <= measured <= predicted


@pytest.mark.parametrize("settings", [{"guidance_scale": 1}, {"guidance_scale": 3}, {"kept_tokens": [1] * 7}])
def test_the_prediction_holds_for_small_models(pipeline: DARPipeline, tmp_path: Path, settings: dict) -> None:
    check_prediction(pipeline, tmp_path, (4, 64), **settings)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_prediction_holds_for_the_bundled_model(tmp_path: Path, dtype: str) -> None:
    pipe = DARPipeline.from_pretrained(dtype=dtype)
    kept = list(range(pipe.tokenizer.config.num_tokens - 2))  # most of the tokens, so that little is to be generated
    check_prediction(pipe, tmp_path, (2, 6), steps=1, kept_tokens=kept)


def test_guidance_precision_and_prefixes_count(pipeline: DARPipeline) -> None:
    configs = (pipeline.tokenizer.config, pipeline.prior.config)
    guided = image_memory(*configs, torch.float32, guided=True)
    plain = image_memory(*configs, torch.float32, guided=False)
    half = image_memory(*configs, torch.bfloat16, guided=True)
    assert guided.prior_cache == 2 * plain.prior_cache == 2 * half.prior_cache
    assert guided.drawing < image_memory(*configs, torch.float32, guided=True, keeps_tokens=True).drawing


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let a device have so many bytes that can be used."""

    def have(number: int) -> None:
        monkeypatch.setattr(memory, "free_memory", lambda device: -(-10 * number // 9))

    return have


@pytest.mark.parametrize(
    ("wanted", "images", "settled"),
    [(None, 7, 7), (3, 7, 3), (9, 7, 7), ("auto", 7, 7), ("auto", 11, 6), ("auto", 31, 8), ("auto", 1, 1)],
)
def test_batches_that_fit(free: Callable[[int], None], wanted: int | str | None, images: int, settled: int) -> None:
    free(10 * 1000)
    assert settled_batch_size(wanted, images, 1000, CPU) == settled


def test_auto_has_a_limit(free: Callable[[int], None]) -> None:
    free(10**9)
    assert settled_batch_size("auto", 10_000, 1000, CPU) == 64
    assert settled_batch_size("auto", 10_000, 1000, torch.device("cuda")) == 250


@pytest.mark.parametrize(
    ("wanted", "images", "said"),
    [
        (None, 11, r"11 images at a time need about 11\.0 MB of memory.*compute at most 10 at a time \(batch_size\)"),
        (12, 40, r"12 images at a time need about 12\.0 MB .* free on cpu: compute at most 10 at a time"),
        (0, 4, "batch_size must be at least 1, not 0"),
        ("many", 4, "batch_size must be a whole number or \"auto\", not 'many'"),
    ],
)
def test_batches_that_do_not_fit_are_refused(
    free: Callable[[int], None], wanted: int | str | None, images: int, said: str
) -> None:
    free(10 * 10**6)
    with pytest.raises(DARError, match=said):
        settled_batch_size(wanted, images, 10**6, CPU)


@pytest.mark.parametrize("wanted", [None, 1, "auto"])
def test_an_image_that_does_not_fit_is_refused(free: Callable[[int], None], wanted: int | str | None) -> None:
    free(10)
    with pytest.raises(DARError, match=r"^1 image needs about .*: free some, or choose another"):
        settled_batch_size(wanted, 3 if wanted else 1, 1000, CPU)


def test_nothing_is_computed_of_what_does_not_fit(
    pipeline: DARPipeline, free: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = image_memory(pipeline.tokenizer.config, pipeline.prior.config, torch.float32, guided=True).peak
    free(3 * one + packed_bytes(pipeline.tokenizer.config, pipeline.prior.config, torch.float32))
    tokens = pipeline(["cat"] * 7, batch_size="auto").tokens
    assert torch.equal(tokens, pipeline(["cat"] * 7, batch_size=3).tokens)

    def compute(*args: object, **kwargs: object) -> None:
        raise AssertionError("something was computed")

    monkeypatch.setattr(type(pipeline.tokenizer), "encode", compute)
    monkeypatch.setattr(type(pipeline.prior), "forward", compute)
    layouts = {"layout": torch.zeros(3, 16, 16), "layout_tokens": 4}
    for call in (
        lambda: pipeline(["cat"] * 4),
        lambda: pipeline(["cat"] * 9, batch_size=4, **layouts),
        lambda: pipeline("cat", num_images_per_prompt=4),
        lambda: pipeline.stream(["cat"] * 4),
        lambda: pipeline.check(["cat"] * 4),
    ):
        with pytest.raises(DARError, match="compute at most 3 at a time"):
            call()


@pytest.mark.parametrize(
    ("images", "said"), [(6, "with 6 images at a time: compute at most 3"), (1, "with 1 image: free")]
)
def test_running_out_of_memory_is_told(
    pipeline: DARPipeline, monkeypatch: pytest.MonkeyPatch, images: int, said: str
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(pipeline.tokenizer.diffusion_decoder, "velocity", fail)
    with pytest.raises(DARError, match=said):
        pipeline(["cat"] * images)


def test_packed_weights_are_those_that_generation_multiplies_by(pipeline: DARPipeline) -> None:
    tokenizer, prior = pipeline.tokenizer, pipeline.prior
    parts = [*tokenizer.latent_decoder.blocks, *tokenizer.diffusion_decoder.blocks, *prior.llama.model.layers]
    count = sum(weight.numel() for part in parts for weight in part.parameters() if weight.dim() == 2)
    count += tokenizer.config.decoder_width**2 + prior.config.codebook_size * prior.config.width
    assert packed_bytes(tokenizer.config, prior.config, torch.float32) == 4 * count
