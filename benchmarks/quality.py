"""Judge D-AR, what it is made of, and its baselines, by a network that guided no training.

    dar train classifier --recipe classifier-cifar10-judge --data cifar10/train.parquet --out runs/judge
    python -m benchmarks.quality --data cifar10/ --judge runs/judge/model --model cifar10 --out out/quality

Trains what is not in ``out`` yet (an interrupted run goes on with the same command), and judges what has not been
judged: reconstructions by groups, what each group's own tokens add, and samples at several guidances. All small models
see equally many images and have about equally many parameters. Writes quality.json, quality.md and quality.png.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.contenders import DAR, NAMES, Contender, Workshop, trained_elsewhere
from benchmarks.judging import BATCH, Judge, velocity_errors
from dar.data.in_memory import DecodedImages
from dar.environment import run_record
from dar.errors import DARError
from dar.features.classifier import load_classifier
from dar.files import read_json, write_json, writing
from dar.images import from_uint8
from dar.metrics.similarity import psnr
from dar.progress import progress_bar

SWAPPED = 250
"""Images whose tokens are exchanged."""

Results = dict[str, Any]


def measured(
    contender: Contender, judge: Judge, test: DecodedImages, classes: int, name: str, chosen: Sequence[str] | None
) -> Results:
    """All metrics of one contender; samples at the chosen ones of its guidances, None means at all."""
    found: Results = {
        "parameters": contender.parameters,
        "training_seconds": contender.seconds,
        "images_seen": contender.images_seen,
    }
    stages = contender.stages(test.images)
    if stages is not None:
        found["reconstructions"] = [
            {"psnr": psnr(from_uint8(stage), from_uint8(test.images)).mean().item()} | judge.metrics(stage, test.labels)
            for stage in stages
        ]
    if isinstance(contender, DAR):
        found["velocity_errors"] = velocity_errors(contender.tokenizer, test.images[:SWAPPED])
    labels = torch.arange(len(test)) % classes
    found["samples"] = {}
    wanted = contender.guidances if chosen is None else [one for one in chosen if contender.knows(one)]
    for guidance in wanted:
        start = time.monotonic()
        images = _sampled(contender, labels, guidance, f"{name}, guidance {guidance}")
        seconds = (time.monotonic() - start) / len(labels)
        found["samples"][guidance] = judge.metrics(images, labels, coverage=True) | {"seconds_an_image": seconds}
    return found


def _sampled(contender: Contender, labels: Tensor, guidance: str, description: str) -> Tensor:
    parts = []
    with progress_bar(len(labels), desc=description) as bar:
        for i in range(0, len(labels), BATCH):
            parts.append(contender.samples(labels[i : i + BATCH], guidance, i))
            bar.update(len(parts[-1]))
    return torch.cat(parts)


def markdown(results: Results) -> str:
    """The tables."""
    models: Mapping[str, Results] = results["models"]
    lines = ["| | parameters, M | images seen | minutes of training |", "|---|---|---|---|"]
    for name, one in models.items():
        seen = "" if one["images_seen"] is None else f"{one['images_seen']:,}"
        minutes = "" if one["training_seconds"] is None else f"{one['training_seconds'] / 60:.0f}"
        lines.append(f"| {name} | {one['parameters'] / 1e6:.2f} | {seen} | {minutes} |")
    lines += [
        "",
        "| samples | guidance | Fréchet distance | recognised | precision | recall | own Fréchet | s an image |",
    ]
    lines += ["|---|---|---|---|---|---|---|---|"]
    lines += [_sample_row(n, g, of) for n, one in models.items() for g, of in one["samples"].items()]
    lines += [
        "",
        "| reconstructions | Fréchet distance | recognised | PSNR, dB | own Fréchet |",
        "|---|---|---|---|---|",
    ]
    lines.append(_row("real test images", results["real"], ""))
    for name, one in models.items():
        stages = one.get("reconstructions", [])
        for k in sorted({1, 4, len(stages)}) if len(stages) > 1 else range(1, len(stages) + 1):
            label = f"{name}, {k} of {len(stages)} groups" if len(stages) > 1 else name
            lines.append(_row(label, stages[k - 1], f"{stages[k - 1]['psnr']:.2f}"))
    return "\n".join(lines + _swap_table(models)) + "\n"


def _sample_row(name: str, guidance: str, of: Results) -> str:
    judge = of["judge"]
    return (
        f"| {name} | {guidance} | {judge['frechet_distance']:.2f} | {judge['accuracy']:.3f} | "
        f"{judge['precision']:.3f} | {judge['recall']:.3f} | {of['own']['frechet_distance']:.2f} | "
        f"{of['seconds_an_image']:.3f} |"
    )


def _row(name: str, metrics: Results, decibels: str) -> str:
    judge, own = metrics["judge"], metrics["own"]
    return (
        f"| {name} | {judge['frechet_distance']:.2f} | {judge['accuracy']:.3f} | {decibels} | "
        f"{own['frechet_distance']:.2f} |"
    )


def swap_ratios(errors: Sequence[Mapping[str, float]]) -> list[float]:
    """By what factor each group's velocity error rises when its own tokens are another image's."""
    return [of["own_from_another"] / of["true"] for of in errors]


def _swap_table(models: Mapping[str, Results]) -> list[str]:
    ratios = {name: swap_ratios(one["velocity_errors"]) for name, one in models.items() if "velocity_errors" in one}
    if not ratios:
        return []
    groups = max(map(len, ratios.values()))
    lines = ["", "| own tokens from another image, group | " + " | ".join(map(str, range(1, groups + 1))) + " |"]
    lines.append("|---" * (groups + 1) + "|")
    return lines + [f"| {name} | " + " | ".join(f"{ratio:.2f}" for ratio in row) + " |" for name, row in ratios.items()]


def plot(results: Results, path: Path) -> None:
    """Draw samples by guidance, reconstructions by groups, and what each group's tokens add."""
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    samples, groups, swaps = figure.subplots(1, 3)
    for i, (name, one) in enumerate(results["models"].items()):
        colour = colormaps["tab20"](i % 20)
        _plot_samples(samples, name, one["samples"], colour)
        stages = one.get("reconstructions", [])
        if len(stages) > 1:
            distances = [stage["judge"]["frechet_distance"] for stage in stages]
            groups.plot(range(1, len(stages) + 1), distances, "o-", color=colour, label=name)
        if "velocity_errors" in one:
            ratios = swap_ratios(one["velocity_errors"])
            swaps.plot(range(1, len(ratios) + 1), ratios, "o-", color=colour, label=name)
    real = results["real"]["judge"]
    samples.plot([real["accuracy"]], [real["frechet_distance"]], "k*", label="real test images")
    samples.set(
        xlabel="recognised by the judge", ylabel="Fréchet distance, judge", yscale="log", title="samples, by guidance"
    )
    groups.set(xlabel="groups decoded", ylabel="Fréchet distance, judge", yscale="log", title="reconstructions")
    swaps.set(xlabel="group", ylabel="velocity error, times", yscale="log", title="own tokens from another image")
    swaps.axhline(1.5, color="grey", linewidth=1, linestyle=":")
    labelled = {
        label: line for axes in (samples, swaps) for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=7, fontsize=8)
    with writing(path) as aside:
        figure.savefig(aside, dpi=100, format="png")


def _plot_samples(axes: Axes, name: str, samples: Mapping[str, Results], colour: tuple[float, ...]) -> None:
    if samples:
        points = sorted((of["judge"]["accuracy"], of["judge"]["frechet_distance"], g) for g, of in samples.items())
        axes.plot([x for x, _, _ in points], [y for _, y, _ in points], "o-", color=colour, label=name)
        for x, y, guidance in points:
            axes.annotate(guidance, (x, y), fontsize=6, xytext=(2, 3), textcoords="offset points")


def _begin(out: Path, settings: Results, judge: Judge, shown: DecodedImages) -> Results:
    """Results so far, or the first of them: what the judge says of real images.

    Raises:
        DARError: if those in ``out`` were measured otherwise.
    """
    path = out / "quality.json"
    if path.exists():
        results = read_json(path)
        if results["settings"] != settings:
            raise DARError(
                f"{path} was measured with {results['settings']}: choose another --out, or the same settings"
            )
        return results
    out.mkdir(parents=True, exist_ok=True)
    real = judge.metrics(shown.images, shown.labels, coverage=True)
    return {"settings": settings, **run_record(), "real": real, "models": {}}


def main(
    data: Annotated[Path, typer.Option(help="Folder with CIFAR-10's train.parquet and test.parquet.")],
    judge: Annotated[Path, typer.Option(help="Folder of the classifier that judges.")],
    out: Annotated[Path, typer.Option(help="Folder for runs and results.")],
    model: Annotated[list[str] | None, typer.Option(help="Trained model, a folder or a name; repeatable.")] = None,
    train: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(NAMES)}; None means all; repeatable.")] = None,
    times: Annotated[int, typer.Option(min=1, help="Take the recipe's steps so many times.")] = 1,
    images: Annotated[int, typer.Option(help="Test images to reconstruct, and samples at each guidance.")] = 1000,
    references: Annotated[int, typer.Option(help="Training images that Fréchet distances compare with.")] = 10_000,
    guidance: Annotated[
        list[str] | None, typer.Option(help="As '1:3'; None means a model's usual ones; repeatable.")
    ] = None,
) -> None:
    """Train, judge and write."""
    networks = {"judge": load_classifier(judge), "own": load_classifier("cifar10")}
    workshop = Workshop(data, out, times)
    shown = DecodedImages(workshop.test.images[:images], workshop.test.labels[:images])
    settings = {"images": images, "references": references, "times": times}
    with torch.no_grad():
        looked = Judge.of(networks, workshop.train.images[:references], images)
        results = _begin(out, settings, looked, shown)
    contenders = [(name, lambda name=name: trained_elsewhere(name)) for name in model or ()]
    contenders += [(name, lambda name=name: workshop.contender(name)) for name in train or NAMES]
    for name, made in contenders:
        if name not in results["models"]:
            contender = made()
            with torch.no_grad():
                classes = len(workshop.images.class_names)
                results["models"][name] = measured(contender, looked, shown, classes, name, guidance)
            write_json(out / "quality.json", results)
        with writing(out / "quality.md") as aside:
            aside.write_text(markdown(results), encoding="utf-8")
        plot(results, out / "quality.png")
    typer.echo(markdown(results))


if __name__ == "__main__":
    typer.run(main)
