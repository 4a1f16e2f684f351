"""Judge models of CIFAR-10 by a network that guided no training: reconstructions, what tokens add, samples.

    dar train classifier --recipe classifier-cifar10-judge --data train.parquet --out runs/judge
    python benchmarks/quality.py --data cifar10/ --judge runs/judge/model --model src/dar/models/cifar10 --out out/

Writes quality.json and quality.md: for every model, and for real images.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from dar import DARPipeline
from dar.data import ImageDataset
from dar.data.in_memory import DecodedImages, decode_images
from dar.environment import run_record
from dar.features.classifier import ImageClassifier, load_classifier
from dar.files import write_json, writing
from dar.flow import interpolate
from dar.images import from_levels, to_levels
from dar.metrics.agreement import agreement
from dar.metrics.frechet import Moments, frechet_distance
from dar.metrics.precision_recall import precision_and_recall
from dar.metrics.similarity import psnr
from dar.progress import progress_bar
from dar.reconstruction import reconstructions
from dar.tokenizer import SequentialDiffusionTokenizer

BATCH = 100

SWAPPED = 250
"""Images whose tokens are exchanged."""

SETTINGS = {
    "1": (1.0, 1.0),
    "1:3": (1.0, 3.0),
    "1:4": (1.0, 4.0),
    "1:6": (1.0, 6.0),
    "2": (2.0, 2.0),
    "5": (5.0, 5.0),
}
"""Guidance scales, at the first and the last token."""

Metrics = dict[str, float]


@dataclass
class Judge:
    """Networks that look at images, and what they saw in the training images.

    Attributes:
        networks: by name.
        moments: of the training images' features, by name.
        rows: features of some training images, by name.
    """

    networks: dict[str, ImageClassifier]
    moments: dict[str, Moments]
    rows: dict[str, Tensor]

    @classmethod
    def of(cls, networks: dict[str, ImageClassifier], images: Tensor, count: int) -> "Judge":
        """Let networks see M training images, and keep the features of the first ``count``."""
        moments, rows = {}, {}
        for name, network in networks.items():
            features, _ = look(network, images)
            moments[name], rows[name] = moments_of(features), features[:count]
        return cls(networks, moments, rows)

    def metrics(self, images: Tensor, labels: Tensor, *, coverage: bool = False) -> dict[str, Metrics]:
        """Fréchet distance and accuracy of M uint8 images in each space; also precision and recall if wanted."""
        found: dict[str, Metrics] = {}
        for name, network in self.networks.items():
            features, logits = look(network, images)
            own, real = moments_of(features), self.moments[name]
            found[name] = {
                "frechet_distance": frechet_distance(own.mean, own.covariance, real.mean, real.covariance),
                "accuracy": agreement(logits, labels).double().mean().item(),
            }
            if coverage:
                covered = precision_and_recall(features, self.rows[name])
                found[name] |= {"precision": covered.precision, "recall": covered.recall}
        return found


def look(network: ImageClassifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features and logits of M uint8 images, on the CPU."""
    device = network.head.weight.device
    seen = [network(batch.to(device)) for batch in images.split(BATCH)]
    return torch.cat([one.pooled.cpu() for one in seen]), torch.cat([one.logits.cpu() for one in seen])


def moments_of(features: Tensor) -> Moments:
    """Mean and covariance of rows."""
    moments = Moments(features.shape[1])
    moments.update(features)
    return moments


def reconstructed(
    tokenizer: SequentialDiffusionTokenizer, images: Tensor, solver: str, name: str
) -> tuple[Tensor, float]:
    """Previews after each group: K x M x 3 x H x W uint8; and seconds an image."""
    parts, start = [], time.monotonic()
    with progress_bar(len(images), desc=f"{name}, {solver}") as bar:
        for i in range(0, len(images), BATCH):
            stages = reconstructions(tokenizer, from_levels(images[i : i + BATCH]).to(tokenizer.device), i, solver)
            parts.append(torch.stack([to_levels(stage).cpu() for stage in stages]))
            bar.update(parts[-1].shape[1])
    return torch.cat(parts, dim=1), (time.monotonic() - start) / len(images)


@torch.no_grad()
def velocity_errors(tokenizer: SequentialDiffusionTokenizer, images: Tensor) -> list[Metrics]:
    """Of each group, the velocity's squared error with true tokens, the group's own from another image, and all."""
    config, q = tokenizer.config, tokenizer.config.tokens_per_group
    generator, pixels = torch.Generator().manual_seed(0), from_levels(images)
    tokens = torch.cat([tokenizer.encode(batch.to(tokenizer.device)) for batch in pixels.split(BATCH)])
    others, found = tokens.roll(1, 0), []
    parts = config.num_groups - 1 + config.final_steps
    for k in range(config.num_groups):
        low, high = max(0.0, k - 0.5) / parts, (k + 0.5) / parts if k < config.num_groups - 1 else 1.0
        u = low + (high - low) * torch.rand(len(pixels), generator=generator)
        noise = torch.randn(pixels.shape, generator=generator)
        own = torch.cat([tokens[:, : k * q], others[:, k * q : (k + 1) * q]], dim=1)
        kinds = {
            "true": tokens[:, : (k + 1) * q],
            "own_from_another": own,
            "all_from_another": others[:, : (k + 1) * q],
        }
        found.append({name: _error(tokenizer, pixels, noise, u, shown) for name, shown in kinds.items()})
    return found


def _error(tokenizer: SequentialDiffusionTokenizer, pixels: Tensor, noise: Tensor, u: Tensor, tokens: Tensor) -> float:
    config, total = tokenizer.config, 0.0
    for i in range(0, len(pixels), BATCH):
        rows = slice(i, i + BATCH)
        image, t = config.data_std * pixels[rows], tokenizer.clock.time(u[rows])
        condition = tokenizer.context(tokenizer.condition(tokens[rows]), tokens.shape[1] // config.tokens_per_group - 1)
        x = interpolate(image, noise[rows], t).to(tokenizer.device)
        velocity = tokenizer.velocity(x, t.to(tokenizer.device), condition).cpu()
        total += (velocity - (image - noise[rows])).square().mean((1, 2, 3)).sum().item()
    return total / len(pixels) / config.data_std**2


def sampled(
    pipe: DARPipeline, labels: Tensor, guidance: tuple[float, float], solver: str, name: str
) -> Iterator[Tensor]:
    """Samples of classes, image i from seed i: M x 3 x H x W uint8, by batches."""
    with progress_bar(len(labels), desc=name) as bar:
        for i in range(0, len(labels), BATCH):
            *_, last = pipe.stream(
                labels[i : i + BATCH].tolist(), guidance_scale=guidance, temperature=1.0, solver=solver, seed=i
            )
            yield to_levels(last.pixels).cpu()
            bar.update(len(last.pixels))


def measure(
    name: str, pipe: DARPipeline, judge: Judge, test: DecodedImages, guidances: Sequence[str]
) -> dict[str, Any]:
    """All metrics of one model."""
    found: dict[str, Any] = {"reconstructions": {}, "samples": {}}
    for solver in ("euler", "adams-bashforth-2"):
        stages, seconds = reconstructed(pipe.tokenizer, test.images, solver, name)
        of_groups = [
            {"psnr": psnr(from_levels(stage), from_levels(test.images)).mean().item()}
            | judge.metrics(stage, test.labels)
            for stage in stages
        ]
        found["reconstructions"][solver] = {"by_groups": of_groups, "seconds_an_image": seconds}
    found["velocity_errors"] = velocity_errors(pipe.tokenizer, test.images[:SWAPPED])
    best = min(
        found["reconstructions"],
        key=lambda solver: found["reconstructions"][solver]["by_groups"][-1]["judge"]["frechet_distance"],
    )
    found["solver"] = best
    labels = torch.arange(len(test)) % pipe.prior.config.num_classes
    for guidance in guidances:
        start = time.monotonic()
        images = torch.cat(list(sampled(pipe, labels, SETTINGS[guidance], best, f"{name}, guidance {guidance}")))
        seconds = (time.monotonic() - start) / len(labels)
        found["samples"][guidance] = judge.metrics(images, labels, coverage=True) | {"seconds_an_image": seconds}
    return found


def markdown(results: dict[str, Any]) -> str:
    """The tables."""
    lines = ["| | Fréchet distance | recognised | PSNR, dB | Fréchet, package's classifier |", "|---|---|---|---|---|"]
    real = results["real"]
    lines.append(_row("real test images", real, ""))
    for name, model in results["models"].items():
        for solver, of in model["reconstructions"].items():
            groups = of["by_groups"]
            for k in sorted({1, 2, 4, 6, len(groups)}):
                one = groups[k - 1]
                lines.append(_row(f"{name}, {k} groups, {solver}", one, f"{one['psnr']:.2f}"))
    lines += [
        "",
        "| | Fréchet distance | recognised | precision | recall | Fréchet, package's classifier | s an image |",
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for name, model in results["models"].items():
        for guidance, one in model["samples"].items():
            judge, own = one["judge"], one["own"]
            lines.append(
                f"| {name}, guidance {guidance} | {judge['frechet_distance']:.2f} | {judge['accuracy']:.3f} | "
                f"{judge['precision']:.3f} | {judge['recall']:.3f} | {own['frechet_distance']:.2f} | "
                f"{one['seconds_an_image']:.3f} |"
            )
    lines += ["", "| group | " + " | ".join(f"{name}: true, own, all" for name in results["models"]) + " |"]
    lines.append("|---" * (1 + len(results["models"])) + "|")
    for k in range(len(next(iter(results["models"].values()))["velocity_errors"])):
        cells = [
            ", ".join(f"{value:.3f}" for value in model["velocity_errors"][k].values())
            for model in results["models"].values()
        ]
        lines.append(f"| {k + 1} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _row(name: str, metrics: dict[str, Any], decibels: str) -> str:
    judge, own = metrics["judge"], metrics["own"]
    return (
        f"| {name} | {judge['frechet_distance']:.2f} | {judge['accuracy']:.3f} | {decibels} | "
        f"{own['frechet_distance']:.2f} |"
    )


def main(
    data: Annotated[Path, typer.Option(help="Folder with CIFAR-10's train.parquet and test.parquet.")],
    judge: Annotated[Path, typer.Option(help="Folder of the classifier that judges.")],
    model: Annotated[list[Path], typer.Option(help="Model folder; repeatable.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    images: Annotated[int, typer.Option(help="Test images to reconstruct, and samples at each guidance.")] = 1000,
    references: Annotated[int, typer.Option(help="Training images that Fréchet distances compare with.")] = 10_000,
    guidance: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(SETTINGS)}; all unless told.")] = None,
    device: Annotated[str, typer.Option(help="Where to compute.")] = "cpu",
) -> None:
    """Measure and write."""
    networks = {"judge": load_classifier(judge).to(device), "own": load_classifier("cifar10").to(device)}
    train, test = (
        decode_images(ImageDataset(data / f"{name}.parquet", split), 32, 0)
        for name, split in (("train", "train"), ("test", "test"))
    )
    looked = Judge.of(networks, train.images[:references], images)
    shown = DecodedImages(test.images[:images], test.labels[:images])
    results: dict[str, Any] = {
        "images": images,
        "references": references,
        **run_record(),
        "real": looked.metrics(shown.images, shown.labels),
        "models": {},
    }
    out.mkdir(parents=True, exist_ok=True)
    for folder in model:
        pipe = DARPipeline.from_pretrained(folder, device=device)
        results["models"][str(folder)] = measure(folder.name, pipe, looked, shown, guidance or list(SETTINGS))
        write_json(out / "quality.json", results)
        with writing(out / "quality.md") as aside:
            aside.write_text(markdown(results), encoding="utf-8")
    typer.echo(json.dumps(results["real"]))
    typer.echo(markdown(results))


if __name__ == "__main__":
    typer.run(main)
