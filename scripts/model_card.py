"""Measure the bundled model on CIFAR-10's test images and write its card.

    make card DATA=path/to/cifar10        # a folder with test.parquet

Writes figures.json (all figures), README.md (the card) and nothing else.
"""

import datetime
import math
import platform
import textwrap
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from dar import DARPipeline
from dar.data import ImageDataset
from dar.files import read_json, write_json, writing
from dar.images import centre_crop, to_pixels
from dar.metrics.codebook import perplexity, usage
from dar.metrics.similarity import psnr
from dar.model_folder import BUNDLED, FIGURES
from dar.progress import progress_bar
from dar.reconstruction import decoded_groups
from dar.train.prior_losses import held_out_cross_entropy
from dar.train.tokens import TokenSet

BATCH = 250


@torch.no_grad()
def measure(pipe: DARPipeline, data: ImageDataset, count: int) -> dict[str, Any]:
    """All figures of the card, on the first ``count`` images."""
    tokenizer = pipe.tokenizer
    config = tokenizer.config
    tokens, labels, curve = [], [], torch.zeros(config.num_groups, dtype=torch.float64)
    with progress_bar(count) as bar:
        for start in range(0, count, BATCH):
            examples = [data.example(i) for i in range(start, min(start + BATCH, count))]
            pixels = to_pixels([centre_crop(image, config.image_size) for image, _ in examples])
            codes = tokenizer.encode(pixels)
            stages = decoded_groups(tokenizer, codes, start, solver=pipe.settings.solver)
            curve += torch.stack([psnr(stage, pixels).double().sum() for stage in stages])
            tokens.append(codes.int())
            labels += [label for _, label in examples]
            bar.update(len(examples))
    held_out = TokenSet(torch.cat(tokens), torch.tensor(labels, dtype=torch.int32))
    null = TokenSet(held_out.tokens, torch.full_like(held_out.labels, pipe.prior.config.null_class))
    counts = torch.bincount(held_out.tokens.flatten(), minlength=config.codebook_size)
    return {
        "images": count,
        "codebook_usage": round(usage(counts), 4),
        "codebook_perplexity": round(perplexity(counts), 1),
        "psnr_db_by_groups": [round(value, 2) for value in (curve / count).tolist()],
        "cross_entropy_nats": round(held_out_cross_entropy(pipe.prior, held_out), 4),
        "cross_entropy_nats_null_class": round(held_out_cross_entropy(pipe.prior, null), 4),
        "log_codebook_size_nats": round(math.log(config.codebook_size), 4),
        "code_entropy_nats": round(math.log(perplexity(counts)), 4),
    }


def card(folder: Path, pipe: DARPipeline, figures: dict[str, Any]) -> str:
    """The card's text."""
    training = read_json(folder / "training.json")
    config = pipe.tokenizer.config
    sizes = {
        name: sum(p.numel() for p in part.parameters()) / 1e6
        for name, part in (("tokenizer", pipe.tokenizer), ("prior", pipe.prior))
    }
    curve = figures["psnr_db_by_groups"]
    rows = "\n".join(f"| {k} | {value:.2f} |" for k, value in enumerate(curve, start=1))
    took = "\n".join(
        f"| {name} | {training[name]['step']:,} | {training[name]['images']:,} | "
        f"{training[name]['seconds'] / 60:.0f} min | {training[name].get('hardware', training['hardware'])} |"
        for name in ("tokenizer", "prior", "decoder")
    )
    return f"""---
license: mit
library_name: dar
tags: [image-generation, image-tokenizer, cifar10]
---

# D-AR, CIFAR-10, 32 x 32, class-conditional

A small model, trained with this package's own code and shipped inside it, to show what the method does.

## What it is

{config.num_tokens} tokens in {config.num_groups} groups from a codebook of {config.codebook_size},
{config.num_steps} denoising steps, and a Llama over 10 classes and a null class. Weights are stored as float16.

## Data and compute

CIFAR-10's 50 000 training images, mirrored half of the time; the 10 000 test images were used for the figures below
and for watching the training, not for training.
Tokenizer: {sizes["tokenizer"]:.2f} M parameters, prior: {sizes["prior"]:.2f} M.

| training | steps | images seen | time | hardware |
|---|---|---|---|---|
{took}

The first two followed the recipe `cifar10`. Then the tokenizer's decoder was trained on, with another clock and on
states that the sampler reaches by itself, by `recipe.yaml` beside this card (`cifar10-decoder`); tokens stayed what
they were. Unless told otherwise the model is sampled with the settings of `sampling.json`.
{textwrap.fill(training["remark"], 118)}

## Figures

Measured by `scripts/model_card.py` on {figures["images"]:,} test images, {figures["date"]}, {figures["machine"]}.
Fixed seed, {config.num_steps} steps, Euler, averaged weights.

| groups decoded | PSNR, dB |
|---|---|
{rows}

| metric | value |
|---|---|
| codes in use | {100 * figures["codebook_usage"]:.1f} % |
| codebook perplexity | {figures["codebook_perplexity"]:.0f} of {config.codebook_size} |
| held-out cross-entropy, nats a token | {figures["cross_entropy_nats"]:.3f} |
| the same with the null class | {figures["cross_entropy_nats_null_class"]:.3f} |
| log of the codebook's size, which chance reaches | {figures["log_codebook_size_nats"]:.3f} |
| entropy of single codes, nats | {figures["code_entropy_nats"]:.3f} |

{LIMITS.strip()}
"""


LIMITS = """
## Limits

Trained for eight minutes on one GPU and an hour on two CPU cores, where models of this field train for days on many
GPUs. Its images are as small as CIFAR-10's, and CIFAR-10's classes and their biases are all that it knows. Automobiles,
horses, ships and trucks are mostly told at a glance, airplanes and dogs often; birds, cats, deer and frogs have the
right texture and colours more often than the right shape. Two classifiers guided the training: what they overlook, the
model may overlook. A judge of another architecture, which guided nothing, is therefore what docs/quality.md reports.
"""


def main(
    data: Annotated[Path, typer.Option(help="Folder with CIFAR-10's test.parquet.")],
    model: Annotated[Path, typer.Option(help="Model folder to measure; its card is written there.")] = Path(
        "src/dar/models"
    )
    / BUNDLED,
    count: Annotated[int, typer.Option(help="Test images to use.")] = 500,
    machine: Annotated[
        str, typer.Option(help="What the measurement ran on.")
    ] = f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
) -> None:
    """Measure and write."""
    pipe = DARPipeline.from_pretrained(model)
    figures = measure(pipe, ImageDataset(data / "test.parquet"), count)
    figures |= {"machine": machine, "date": datetime.datetime.now(datetime.UTC).date().isoformat()}
    write_json(model / FIGURES, figures)
    with writing(model / "README.md") as aside:
        aside.write_text(card(model, pipe, figures), encoding="utf-8")
    typer.echo(f"{model / 'README.md'}: {figures}")


if __name__ == "__main__":
    typer.run(main)
