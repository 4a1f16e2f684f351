"""Check and time generation on a GPU, piece by piece; what has passed is not run again.

    python -m scripts.gpu_check --out out/gpu

Writes a JSON file for each piece; one that fails leaves its traceback there and is run again the next time.
"""

import gc
import platform
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed_cases import random_published
from dar.errors import DARError
from dar.files import read_json, write_json
from dar.generation.memory import image_memory
from dar.pipeline import DARPipeline
from dar.prior.decoding import decoder_of

Results = dict[str, Any]
CLASSES = [3, 8, 0, 5]


def median_seconds(action: Callable[[], object], runs: int = 5) -> float:
    """Time an action after one run that is not counted."""
    times = []
    for _ in range(runs + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        action()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[runs // 2]


def difference(one: Tensor, other: Tensor) -> float:
    return float((one.cpu().double() - other.cpu().double()).abs().max())


def check_parity(device: torch.device) -> Results:
    """Likeliest tokens are those of the CPU; images of equal tokens are, to rounding; pictures get the same codes."""
    cpu, gpu = DARPipeline.from_pretrained(), DARPipeline.from_pretrained(device=device)
    ours, theirs = gpu(CLASSES, temperature=0, guidance_scale=2.0), cpu(CLASSES, temperature=0, guidance_scale=2.0)
    decoded = gpu.tokenizer.decode(theirs.tokens, seed=0, solver=cpu.settings.solver)
    sampled, expected = gpu(CLASSES, seed=7), cpu(CLASSES, seed=7)
    codes = gpu.tokenizer.encode(theirs.pixels), cpu.tokenizer.encode(theirs.pixels)
    found = {
        "likeliest tokens equal": float((ours.tokens.cpu() == theirs.tokens).float().mean()),
        "images differ by": difference(decoded, theirs.pixels),
        "drawn tokens equal": float((sampled.tokens.cpu() == expected.tokens).float().mean()),
        "codes equal": float((codes[0].cpu() == codes[1]).float().mean()),
    }
    assert found["likeliest tokens equal"] == found["drawn tokens equal"] == 1, found
    assert found["images differ by"] < 1e-3, found
    return found


def check_seeds(device: torch.device) -> Results:
    """A seed gives the same image alone, in a batch, streamed, and while another generation goes on."""
    pipe = DARPipeline.from_pretrained(device=device)
    whole = pipe(CLASSES, seed=5)
    alone = pipe([CLASSES[2]], seed=7)
    *_, streamed = pipe.stream(CLASSES, seed=5)
    pairs = list(zip(pipe.stream(CLASSES, seed=5), pipe.stream(CLASSES, seed=105), strict=True))
    kept = pipe(CLASSES, seed=5, kept_tokens=whole.tokens[:, :24])
    with torch.inference_mode():
        inferred = pipe(CLASSES, seed=5)
    again = pipe(CLASSES, seed=5)
    for tokens in (streamed.tokens, pairs[-1][0].tokens, kept.tokens, inferred.tokens, again.tokens):
        assert torch.equal(tokens.cpu(), whole.tokens.cpu())
    assert torch.equal(alone.tokens.cpu(), whole.tokens[2:3].cpu())
    assert torch.equal(streamed.pixels.cpu(), whole.pixels)
    return {"images alone and in a batch differ by": difference(alone.pixels, whole.pixels[2:3])}


def check_compiled(device: torch.device) -> Results:
    """Compiled, the likeliest tokens stay the same, and images to rounding."""
    plain = DARPipeline.from_pretrained(device=device)(CLASSES, temperature=0)
    compiled = DARPipeline.from_pretrained(device=device).compile()(CLASSES, temperature=0)
    assert torch.equal(plain.tokens.cpu(), compiled.tokens.cpu())
    return {"images differ by": difference(plain.pixels, compiled.pixels)}


def check_dtypes(device: torch.device) -> Results:
    """Half precision and autocast give pictures near those of float32 for the same tokens."""
    exact = DARPipeline.from_pretrained(device=device)
    tokens, found = exact(CLASSES, seed=1).tokens, {}
    wanted = exact.tokenizer.decode(tokens, seed=1)

    def psnr(pixels: Tensor) -> float:
        return float(10 * torch.log10(4 / (pixels.float() - wanted).square().mean()))

    for dtype in (torch.bfloat16, torch.float16):
        half = DARPipeline.from_pretrained(device=device, dtype=dtype)
        found[f"{dtype} PSNR"] = psnr(half.tokenizer.decode(tokens, seed=1))
        assert torch.isfinite(half(CLASSES, seed=1).pixels).all()
    with torch.autocast("cuda", torch.bfloat16):
        found["autocast PSNR"] = psnr(exact.tokenizer.decode(tokens, seed=1))
        assert torch.isfinite(exact(CLASSES, seed=1).pixels).all()
    assert min(found.values()) > 40, found
    return found


def check_memory(device: torch.device) -> Results:
    """Memory is what was predicted, at most; what doesn't fit is refused in words."""
    pipe, found = random_published("B").to(device, torch.bfloat16), {}
    predicted = image_memory(pipe.tokenizer.config, pipe.prior.config, torch.bfloat16, guided=True).peak
    for batch in (1, 16, 64):
        gc.collect()
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        pipe(list(range(batch)), guidance_scale=3.0)
        found[f"bytes an image at {batch}"] = (torch.cuda.max_memory_allocated() - before) / batch
    found["predicted"] = predicted
    try:
        pipe([0], num_images_per_prompt=10**6, batch_size=10**6)
    except DARError as error:
        found["refused"] = str(error)
    assert "refused" in found
    return found


def time_published(size: str, batch: int, *, compiled: bool) -> Callable[[torch.device], Results]:
    def piece(device: torch.device) -> Results:
        pipe = random_published(size).to(device, torch.bfloat16)
        if compiled:
            pipe.compile()
        classes, tokens = list(range(batch)), torch.randint(16384, (batch, 256), device=device)
        start = time.perf_counter()
        pipe(classes, guidance_scale=3.0)
        torch.cuda.synchronize()
        found: Results = {"first call": time.perf_counter() - start}
        found["image"] = median_seconds(lambda: pipe(classes, guidance_scale=3.0))
        found["decoding"] = median_seconds(lambda: pipe.tokenizer.decode(tokens, seed=0))
        found["first preview"] = median_seconds(lambda: next(pipe.stream(classes, guidance_scale=3.0)))
        found["streamed"] = median_seconds(
            lambda: [one.pixels.cpu() for one in pipe.stream(classes, guidance_scale=3.0)]
        )
        found["images a second"] = batch / found["image"]
        read = sum(one.nbytes for one in pipe.prior.llama.model.layers.parameters())
        found["bytes of layers"] = read
        with torch.no_grad():
            found |= _token_seconds(pipe, classes)
        found["bytes of layers a second"] = read / found["token"]
        return found

    return piece


def _token_seconds(pipe: DARPipeline, classes: list[int]) -> Results:
    decoder = decoder_of(pipe.prior, pipe.dtype)
    rows = pipe.prior.class_tokens(torch.tensor(classes * 2, device=pipe.device))[:, None]

    def steps() -> None:
        cache = decoder.new_cache(len(rows))
        for _ in range(256):
            decoder.next_logits(rows, cache)

    token = median_seconds(steps) / 256
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        steps()
        torch.cuda.synchronize()
    kernels = sorted(profiled.key_averages(), key=lambda one: -one.device_time_total)[:14]
    return {
        "token": token,
        "kernels": [[one.key[:90], one.count / 256, one.device_time_total / 256] for one in kernels],
    }


def time_transformers(device: torch.device) -> Results:
    """transformers' guided generation of 64 tokens by the same prior."""
    pipe = random_published("L").to(device, torch.bfloat16)
    prompt = pipe.prior.class_tokens(torch.tensor([1], device=device))[:, None]
    null = torch.full_like(prompt, pipe.prior.config.codebook_size + pipe.prior.config.null_class)

    def generate() -> None:
        pipe.prior.llama.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=64,
            guidance_scale=3.0,
            negative_prompt_ids=null,
        )

    return {"token": median_seconds(generate, 2) / 64}


def measure_floor(device: torch.device) -> Results:
    """Bytes read a second, and operations a second of bfloat16 products."""
    array = torch.ones(2**31, dtype=torch.uint8, device=device).view(torch.float32)
    one, other = (torch.randn(8192, 8192, device=device, dtype=torch.bfloat16) for _ in range(2))
    return {
        "bytes a second": array.nbytes / median_seconds(lambda: array.sum()),
        "operations a second": 2 * 8192**3 / median_seconds(lambda: one @ other),
    }


PIECES: Mapping[str, Callable[[torch.device], Results]] = {
    "floor": measure_floor,
    "parity": check_parity,
    "seeds": check_seeds,
    "compiled": check_compiled,
    "dtypes": check_dtypes,
    "memory": check_memory,
    "L-1": time_published("L", 1, compiled=False),
    "L-1-compiled": time_published("L", 1, compiled=True),
    "L-64-compiled": time_published("L", 64, compiled=True),
    "L-64": time_published("L", 64, compiled=False),
    "transformers": time_transformers,
}


def main(
    out: Annotated[Path, typer.Option(help="Folder for a JSON file of each piece.")] = Path("out/gpu"),
    only: Annotated[list[str] | None, typer.Option(help="Pieces to run; repeatable. All unless told.")] = None,
    minutes: Annotated[float, typer.Option(help="Begin no piece after so long.")] = 9,
) -> None:
    """Run what has not passed yet."""
    if not torch.cuda.is_available():
        raise typer.BadParameter("torch finds no NVIDIA GPU here: run it where there is one")
    device, started = torch.device("cuda"), time.monotonic()
    machine = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "python": platform.python_version()}
    failed = False
    for name in only or PIECES:
        file = out / f"{name}.json"
        if file.is_file() and "error" not in read_json(file):
            typer.echo(f"{name}: passed before")
            continue
        if time.monotonic() - started > 60 * minutes:
            break
        begun = time.monotonic()
        try:
            found = PIECES[name](device)
        except Exception:  # the next piece is to run all the same
            found, failed = {"error": traceback.format_exc()}, True
        out.mkdir(parents=True, exist_ok=True)
        write_json(file, {**machine, "date": str(date.today()), **found})
        typer.echo(f"{name}, {time.monotonic() - begun:.0f} s: {found.get('error', found)}")
        gc.collect()
        torch.cuda.empty_cache()
    raise typer.Exit(failed)


if __name__ == "__main__":
    typer.run(main)
