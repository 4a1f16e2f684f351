"""``dar generate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dar.cli import options
from dar.errors import DARError

if TYPE_CHECKING:
    from PIL import Image

SHEET, STRIP, ANIMATION, RECORD = "sheet.png", "previews.png", "previews.gif", "generation.json"


def generate(
    class_: Annotated[list[str], typer.Option("--class", help="Class name or index; repeat it for several.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    model: options.Model = None,
    num: Annotated[int, typer.Option(min=1, help="Images of each class.")] = 1,
    seed: options.Seed = 0,
    guidance: Annotated[str, typer.Option(help="Guidance scale: one number, or START:END, linear.")] = "1:3",
    steps: options.Steps = None,
    solver: options.Solver = "adams-bashforth-2",
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Draw among the k likeliest tokens only.")] = None,
    top_p: Annotated[float, typer.Option(help="Draw among the likeliest tokens of this total probability.")] = 1.0,
    previews: Annotated[bool, typer.Option("--previews", help="Also draw the way from coarse to fine.")] = False,
    layout: Annotated[Path | None, typer.Option(help="Picture whose layout to keep.")] = None,
    layout_tokens: Annotated[int | None, typer.Option(help="How many of its first tokens to keep.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images computed at a time.")] = 32,
    device: options.Device = "cpu",
    overwrite: options.Overwrite = False,
) -> None:
    """Generate images of classes: PNG files, a contact sheet, and a record of the settings.

    Example: dar generate --class ship --class frog --num 4 --seed 0 --guidance 1:3 --previews --out out/
    """
    scales = parse_guidance(guidance)
    from tqdm import tqdm

    from dar.images import display_scale, grid, save_animation, save_image
    from dar.pipeline import DARPipeline
    from dar.prior.sampling import Sampling
    from dar.storage import write_json

    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    pipe = DARPipeline.from_pretrained(model, device=device)
    indices = [pipe.prior.config.class_index(wanted) for wanted in class_ for _ in range(num)]
    names = [pipe.prior.config.class_names[index] for index in indices]
    files = [f"{i:04d}-{_file_name(name)}.png" for i, name in enumerate(names)]
    extra = [STRIP, ANIMATION] if previews else []
    options.prepare_outputs(out, [*files, SHEET, RECORD, *extra], overwrite=overwrite)

    stages: list[list[Image.Image]] = []  # per step, one image each
    progress = tqdm(total=len(indices), unit="image", dynamic_ncols=True)
    for start in range(0, len(indices), batch_size):
        chunk = indices[start : start + batch_size]
        stream = pipe.stream(
            chunk,
            guidance_scale=scales,
            seed=seed + start,
            steps=steps,
            solver=solver,
            sampling=sampling,
            layout=layout,
            layout_tokens=layout_tokens,
        )
        for preview in stream:
            if len(stages) < preview.step:
                stages.append([])
            stages[preview.step - 1] += preview.images
            progress.set_postfix_str(f"denoising step {preview.step}")
        progress.update(len(chunk))
    progress.close()

    images, scale = stages[-1], display_scale(pipe.tokenizer.config.image_size)
    for image, name in zip(images, files, strict=True):
        save_image(image, out / name)
    save_image(grid([images[i : i + num] for i in range(0, len(images), num)], scale=scale), out / SHEET)
    typer.echo(f"{len(images)} images and {out / SHEET}")
    if previews:
        firsts = range(0, len(images), num)  # the first image of each class
        save_image(grid([[stage[i] for stage in stages] for i in firsts], scale=scale), out / STRIP)
        frames = [grid([[stage[i] for i in firsts]], scale=scale) for stage in stages]
        save_animation(frames, out / ANIMATION)
        typer.echo(f"coarse to fine: {out / STRIP} and {out / ANIMATION}")
    record = {
        "model": model or "bundled",
        "images": [
            {"file": file, "class": name, "seed": seed + i}
            for i, (file, name) in enumerate(zip(files, names, strict=True))
        ],
        "guidance": list(scales),
        "steps": len(stages),
        "solver": solver,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "layout": str(layout) if layout else None,
        "layout_tokens": layout_tokens,
    }
    write_json(out / RECORD, record)


def parse_guidance(text: str) -> tuple[float, float]:
    """Start and end scale from "3" or "1:3".

    Raises:
        DARError: if it is neither.
    """
    parts = text.split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise DARError(f"a guidance scale is a number like 3, or START:END like 1:3, not {text!r}")
    return numbers[0], numbers[-1]


def _file_name(class_name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in class_name.lower())
