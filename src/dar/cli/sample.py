"""``dar sample``."""

from pathlib import Path
from typing import Annotated

import typer

from dar.cli import options
from dar.cli.generate import parse_guidance


def sample(
    num: Annotated[int, typer.Option(min=1, help="Images.")],
    out: Annotated[Path, typer.Option(help="The .npz file: new, or begun by the same command.")],
    model: options.Model = None,
    labels: Annotated[str, typer.Option(help="random, or balanced: equally many of each class.")] = "random",
    class_: Annotated[
        list[str] | None, typer.Option("--class", help="Only this class, name or index; repeat it for several.")
    ] = None,
    seed: options.Seed = 0,
    guidance: Annotated[str, typer.Option(help="Guidance scale: one number, or START:END, linear.")] = "1:3",
    steps: options.Steps = None,
    solver: options.Solver = "adams-bashforth-2",
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Draw among the k likeliest tokens only.")] = None,
    top_p: Annotated[float, typer.Option(help="Draw among the likeliest tokens of this total probability.")] = 1.0,
    chunk: Annotated[int, typer.Option(min=1, help="Consecutive images computed as one batch.")] = 50,
    rounding: Annotated[str, typer.Option(help="adm: down from 127.5 (x + 1); dit: down from 127.5 x + 128.")] = "adm",
    png: Annotated[Path | None, typer.Option(help="New folder for the same images as PNG files.")] = None,
    device: options.Device = "cpu",
) -> None:
    """Sample many images for evaluation, into the .npz that the field's tools read.

    Stop it whenever you like: the same command goes on where it was. Under torchrun or accelerate launch, or with
    RANK and WORLD_SIZE set by hand, processes share the work; one or many, they give the same bytes.

    Example: dar sample --num 50000 --out samples.npz --labels balanced --guidance 1:3 --device cuda

    Example: torchrun --nproc-per-node 8 -m -- dar sample --num 50000 --out samples.npz --device cuda
    """
    scales = parse_guidance(guidance)
    process, processes = options.place_among_processes()
    from dar.evaluate.sample_file import open_samples, write_pngs
    from dar.evaluate.sampling import SampleSettings
    from dar.evaluate.sampling import sample as sample_images
    from dar.pipeline import RECIPE, DARPipeline, model_folder
    from dar.storage import refuse_existing

    if png is not None and process == 0:
        refuse_existing(png)
    pipe = DARPipeline.from_pretrained(model, device=options.own_device(device))
    config = pipe.prior.config
    classes = {config.class_index(wanted) for wanted in class_} if class_ else range(config.num_classes)
    settings = SampleSettings(
        num=num,
        labels=labels,
        classes=tuple(sorted(classes)),
        seed=seed,
        chunk=chunk,
        rounding=rounding,
        guidance_scale=scales,
        steps=steps or pipe.tokenizer.config.num_steps,
        solver=solver,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
    )
    recipe = model_folder(model) / RECIPE
    described = {"model": model or "bundled", "recipe": recipe.read_text("utf-8") if recipe.is_file() else None}
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
