"""``dar generate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dar.cli import checks, options
from dar.cli.sampling import parse_guidance

if TYPE_CHECKING:
    from PIL import Image

    from dar.pipeline import DARPipeline, Settings

SHEET, STRIP, ANIMATION, RECORD = "sheet.png", "previews.png", "previews.gif", "generation.json"


def generate(
    class_: Annotated[list[str], typer.Option("--class", help="Class name or index; repeat it for several.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    model: options.Model = None,
    num: Annotated[int, typer.Option(min=1, help="Images of each class.")] = 1,
    seed: options.Seed = 0,
    guidance: options.Guidance = "1:3",
    steps: options.Steps = None,
    solver: options.Solver = "adams-bashforth-2",
    temperature: options.Temperature = 1.0,
    top_k: options.TopK = None,
    top_p: options.TopP = 1.0,
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
    checks.model(model, classes=class_, solver=solver)
    checks.paths("picture", layout)
    from dar.files import write_json
    from dar.pipeline import DARPipeline

    settings: Settings = {
        "guidance_scale": scales,
        "steps": steps,
        "solver": solver,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "layout": layout,
        "layout_tokens": layout_tokens,
    }
    pipe = DARPipeline.from_pretrained(model, device=device)
    indices = [pipe.prior.config.class_index(wanted) for wanted in class_ for _ in range(num)]
    names = [pipe.prior.config.class_names[index] for index in indices]
    files = [f"{i:04d}-{_file_name(name)}.png" for i, name in enumerate(names)]
    extra = [STRIP, ANIMATION] if previews else []
    # The stream checks its arguments at the call: nothing is written before that.
    pipe.stream(indices[:1], **settings | {"seed": seed})
    options.prepare_outputs(out, [*files, SHEET, RECORD, *extra], overwrite=overwrite)

    stages = _generate(pipe, indices, seed, batch_size, settings)
    _write_images(stages[-1], files, num, out)
    if previews:
        _write_previews([stage[::num] for stage in stages], out)  # the first image of each class
    described = enumerate(zip(files, names, strict=True))
    images = [{"file": file, "class": name, "seed": seed + i} for i, (file, name) in described]
    record = {"model": model or "bundled", "images": images, **settings}
    write_json(out / RECORD, {**record, "steps": len(stages), "layout": str(layout) if layout else None})


def _generate(
    pipe: "DARPipeline", classes: list[int], seed: int, batch_size: int, settings: "Settings"
) -> list[list["Image.Image"]]:
    """For each denoising step, what all images look like after it."""
    from tqdm import tqdm

    stages: list[list[Image.Image]] = []
    with tqdm(total=len(classes), unit="image", dynamic_ncols=True) as progress:
        for start in range(0, len(classes), batch_size):
            chunk = classes[start : start + batch_size]
            for preview in pipe.stream(chunk, **settings | {"seed": seed + start}):
                if len(stages) < preview.step:
                    stages.append([])
                stages[preview.step - 1] += preview.images
                progress.set_postfix_str(f"denoising step {preview.step}")
            progress.update(len(chunk))
    return stages


def _write_images(images: list["Image.Image"], files: list[str], per_row: int, out: Path) -> None:
    from dar.images import save_image
    from dar.sheets import display_scale, grid

    for image, name in zip(images, files, strict=True):
        save_image(image, out / name)
    rows = [images[i : i + per_row] for i in range(0, len(images), per_row)]
    save_image(grid(rows, scale=display_scale(images[0].width)), out / SHEET)
    typer.echo(f"{len(images)} images and {out / SHEET}")


def _write_previews(stages: list[list["Image.Image"]], out: Path) -> None:
    """A strip with a row an image and a column a step, and the same as an animation."""
    from dar.images import save_animation, save_image
    from dar.sheets import display_scale, grid

    scale = display_scale(stages[0][0].width)
    save_image(grid(list(zip(*stages, strict=True)), scale=scale), out / STRIP)
    save_animation([grid([stage], scale=scale) for stage in stages], out / ANIMATION)
    typer.echo(f"coarse to fine: {out / STRIP} and {out / ANIMATION}")


def _file_name(class_name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in class_name.lower())
