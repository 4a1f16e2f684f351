"""``dar sample``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dar.cli import options
from dar.cli.generate import parse_guidance

if TYPE_CHECKING:
    from dar.evaluate.sampling import SampleSettings
    from dar.pipeline import DARPipeline


def sample(
    num: options.Num,
    out: Annotated[Path, typer.Option(help="The .npz file: new, or begun by the same command.")],
    model: options.Model = None,
    labels: options.Labels = "random",
    class_: options.OnlyClasses = None,
    seed: options.Seed = 0,
    guidance: options.Guidance = "1:3",
    steps: options.Steps = None,
    solver: options.Solver = "adams-bashforth-2",
    temperature: options.Temperature = 1.0,
    top_k: options.TopK = None,
    top_p: options.TopP = 1.0,
    chunk: options.Chunk = 50,
    rounding: options.Rounding = "adm",
    png: Annotated[Path | None, typer.Option(help="New folder for the same images as PNG files.")] = None,
    device: options.Device = "cpu",
) -> None:
    """Sample many images for evaluation, into the .npz that the field's tools read.

    Stop it whenever you like: the same command goes on where it was. Under torchrun or accelerate launch, or with
    RANK and WORLD_SIZE set by hand, processes share the work; one or many, they give the same bytes.

    Example: dar sample --num 50000 --out samples.npz --labels balanced --guidance 1:3 --device cuda

    Example: torchrun --nproc-per-node 8 -m -- dar sample --num 50000 --out samples.npz --device cuda
    """
    process, processes = options.place_among_processes()
    from dar.evaluate.sample_file import open_samples, write_pngs
    from dar.evaluate.sampling import sample as sample_images
    from dar.pipeline import DARPipeline
    from dar.storage import refuse_existing

    if png is not None and process == 0:
        refuse_existing(png)
    pipe = DARPipeline.from_pretrained(model, device=options.own_device(device))
    settings = sample_settings(
        pipe,
        class_,
        guidance,
        num=num,
        labels=labels,
        seed=seed,
        chunk=chunk,
        rounding=rounding,
        steps=steps,
        solver=solver,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
    )
    described = {**describe(model), "class_names": list(pipe.prior.config.class_names)}
    try:
        complete = sample_images(pipe, settings, out, described=described, process=process, processes=processes)
        if complete and png is not None and process == 0:
            write_pngs(open_samples(out), png)
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on")
        raise typer.Exit(options.INTERRUPTED) from None
    if complete:
        typer.echo(f"complete: {out} holds {num} images, {out.with_suffix('.json')} tells how they were made")
    else:
        typer.echo("this process has done its part; process 0 joins all parts")


def sample_settings(
    pipe: "DARPipeline", only: list[str] | None, guidance: str, *, steps: int | None, **settings: Any
) -> "SampleSettings":
    """What to sample, from the command line's words.

    Args:
        pipe: the model.
        only: names or indices of the classes to sample; None for all.
        guidance: one number, or START:END.
        steps: denoising steps; None for the model's own number.
        **settings: other fields of ``SampleSettings``.

    Raises:
        DARError: if there is no such class, or a setting cannot be.
    """
    from dar.evaluate.sampling import SampleSettings

    config = pipe.prior.config
    classes = {config.class_index(wanted) for wanted in only} if only else range(config.num_classes)
    return SampleSettings(
        classes=tuple(sorted(classes)),
        guidance_scale=parse_guidance(guidance),
        steps=steps or pipe.tokenizer.config.num_steps,
        **settings,
    )


def describe(model: str | None) -> dict[str, Any]:
    """What records and reports tell of a model beside its hash."""
    from dar.pipeline import RECIPE, model_folder

    recipe = model_folder(model) / RECIPE
    return {"model": model or "bundled", "recipe": recipe.read_text("utf-8") if recipe.is_file() else None}
