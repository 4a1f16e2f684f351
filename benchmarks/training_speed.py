"""Images a second of training on synthetic images, and which share of the rate of matrix products that is.

    python benchmarks/training_speed.py --recipe cifar10-cpu

Each line is one way of computing the same steps, in one run on one machine: forward, backward, clipping, AdamW, and
the running average.
"""

import time
from collections.abc import Callable
from typing import Annotated

import torch
import typer
from torch import Tensor, nn

import dar.nn
from dar.device import use_bf16
from dar.prior import Prior
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.train.ema import AveragedModel
from dar.train.estimate import estimate_prior, estimate_tokenizer, matrix_rate
from dar.train.losses import tokenizer_losses
from dar.train.optimizer import make_optimizer
from dar.train.prior_losses import cross_entropy
from dar.train.recipe import Recipe, TrainingRecipe, load_recipe

CLASSES = tuple(map(str, range(10)))


def seconds_a_step(
    model: nn.Module, loss: Callable[[nn.Module], Tensor], recipe: TrainingRecipe, *, compiled: bool
) -> float:
    """Median of some steps, after a few to warm up."""
    torch._dynamo.reset()
    optimizer, averaged = make_optimizer(model, recipe), AveragedModel(model, recipe.ema_decay)
    run = torch.compile(model) if compiled else model
    device = next(model.parameters()).device
    times = []
    for step in range(25):
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=use_bf16(recipe.precision)):
            value = loss(run)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip).item()
        optimizer.step()
        optimizer.zero_grad()
        averaged.update(step)
        times.append(time.perf_counter() - start)
    return sorted(times[5:])[10]


def tokenizer_seconds(recipe: Recipe, batch: int, device: torch.device, *, compiled: bool) -> float:
    torch.manual_seed(0)
    config = recipe.tokenizer
    model = SequentialDiffusionTokenizer(config).to(device)
    pixels = torch.rand(batch, 3, config.image_size, config.image_size, device=device) * 2 - 1
    noise, u = torch.randn_like(pixels), torch.rand(batch, device=device)

    def loss(run: nn.Module) -> Tensor:
        return torch.stack(list(tokenizer_losses(run(pixels, u, noise), pixels, config).values())).sum()

    return seconds_a_step(model, loss, recipe.tokenizer_training, compiled=compiled)


def prior_seconds(recipe: Recipe, batch: int, device: torch.device, attention: str, *, compiled: bool) -> float:
    torch.manual_seed(0)
    model = Prior(recipe.prior_config(CLASSES)).to(device).train()
    model.llama.set_attn_implementation(attention)
    classes = torch.randint(len(CLASSES), (batch,), device=device)
    tokens = torch.randint(recipe.tokenizer.codebook_size, (batch, recipe.tokenizer.num_tokens), device=device)
    return seconds_a_step(
        model, lambda run: cross_entropy(run(classes, tokens), tokens), recipe.prior_training, compiled=compiled
    )


def tell(what: str, batch: int, seconds: float, operations: float, rate: float) -> None:
    reached = batch / seconds * operations
    typer.echo(f"{what:44} {batch / seconds:7.1f} images/s {reached / 1e9:9.0f} GFLOP/s {reached / rate:6.1%}")


def main(
    recipe: Annotated[str, typer.Option(help="Whose sizes to train.")] = "cifar10-cpu",
    batch: Annotated[int | None, typer.Option(help="Images a step on this device; the recipe's unless told.")] = None,
) -> None:
    """Compare attention kernels, and compiling with not."""
    settings = load_recipe(recipe)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    for kind, training in (("tokenizer", settings.tokenizer_training), ("prior", settings.prior_training)):
        count = batch or training.batch_size
        dtype = torch.bfloat16 if use_bf16(training.precision) else torch.float32
        rate = matrix_rate(device, dtype)
        estimate = estimate_tokenizer(settings) if kind == "tokenizer" else estimate_prior(settings, len(CLASSES))
        operations = estimate.operations / estimate.images
        typer.echo(f"{kind}: {operations / 1e9:.2f} GFLOP an image, batch {count}, {dtype}, torch {torch.__version__}")
        typer.echo(f"{name}, matrix products of 2048: {rate / 1e9:.0f} GFLOP/s")
        for compiled in (False, True):
            way = "compiled" if compiled else "not compiled"
            for fused in (True, False) if device.type == "cpu" else (True,):
                attention = "fused attention" if fused else "attention written out"
                if kind == "tokenizer":
                    dar.nn.SHORT_CONTEXT = 0 if fused else 256
                    seconds = tokenizer_seconds(settings, count, device, compiled=compiled)
                else:
                    seconds = prior_seconds(settings, count, device, "sdpa" if fused else "eager", compiled=compiled)
                tell(f"{kind}, {way}, {attention}", count, seconds, operations, rate)


if __name__ == "__main__":
    typer.run(main)
