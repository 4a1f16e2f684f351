"""Draw the pictures of README and docs with the bundled model.

    python scripts/figures.py --photo path/to/photo.png

Writes docs/images/*.png. Class pictures need nothing; the photo is what the journey and layout figures start from.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from PIL import Image

from dar import DARPipeline
from dar.images import centre_crop, read_image, save_image, to_images, to_pixels
from dar.reconstruction import reconstructions
from dar.sheets import captioned_grid

LAYOUT_TOKENS = (0, 8, 16, 32)


def panel(figure: Figure, place: tuple[float, float, float, float], image: Any, title: str) -> None:
    """A picture with a title, at left, bottom, width, height."""
    axes = figure.add_axes(place)
    axes.imshow(image, interpolation="nearest")
    axes.set_title(title, fontsize=8)
    axes.set_axis_off()


def journey(pipe: DARPipeline, photo: Image.Image, path: Path) -> None:
    """How one image travels: pixels, tokens in groups, one denoising step a group."""
    config = pipe.tokenizer.config
    pixels = to_pixels([photo])
    tokens = pipe.tokenizer.encode(pixels)[0].view(config.num_groups, -1).numpy()
    stages = [to_images(stage)[0] for stage in reconstructions(pipe.tokenizer, pixels, solver=pipe.settings.solver)]

    figure = Figure(figsize=(11, 4.2))
    FigureCanvasAgg(figure)
    panel(figure, (0.01, 0.56, 0.15, 0.36), photo, f"image\n{config.image_size} x {config.image_size} pixels")
    colours = np.random.default_rng(0).uniform(0.25, 1, (config.codebook_size, 3))
    width = 0.74 / config.num_groups
    for k, stage in enumerate(stages):
        left = 0.25 + k * width
        codes = colours[tokens[k]].reshape(-1, 2, 3).transpose(1, 0, 2)
        panel(figure, (left, 0.70, width * 0.86, 0.16), codes, f"group {k + 1}")
        panel(figure, (left, 0.08, width * 0.86, 0.30), stage, f"after group {k + 1}")
        arrow(figure, (left + 0.43 * width, 0.68), (left + 0.43 * width, 0.46))
        if k:
            arrow(figure, (left - 0.14 * width, 0.23), (left, 0.23))
    arrow(figure, (0.165, 0.74), (0.24, 0.74))
    figure.text(0.2025, 0.80, "encoder,\nquantizer", ha="center", fontsize=8)
    figure.text(0.62, 0.945, "tokens, coarse to fine: what the Llama predicts, left to right", ha="center", fontsize=9)
    figure.text(
        0.62,
        0.425,
        "latent decoder: each group conditions its part of the denoising",
        ha="center",
        fontsize=9,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )
    figure.text(0.02, 0.20, "noise, and a\nvelocity network\non pixels", fontsize=9)
    arrow(figure, (0.165, 0.23), (0.245, 0.23))
    figure.savefig(path, dpi=110)


def arrow(figure: Figure, start: tuple[float, float], end: tuple[float, float]) -> None:
    """An arrow in figure coordinates."""
    figure.add_artist(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color="0.35", linewidth=1))


def classes(pipe: DARPipeline, path: Path, per_class: int = 10) -> None:
    """A row of samples for each class; image i has seed i."""
    names = pipe.prior.config.class_names
    images = pipe([name for name in names for _ in range(per_class)]).images
    rows = [images[i : i + per_class] for i in range(0, len(images), per_class)]
    save_image(captioned_grid(rows, row_names=names, scale=3), path)


def previews(pipe: DARPipeline, path: Path) -> None:
    """A row an image and a column a denoising step."""
    names = ["airplane", "horse", "ship", "truck"]
    stages = [preview.images for preview in pipe.stream(names)]
    columns = [f"step {k}" for k in range(1, len(stages) + 1)]
    rows = list(zip(*stages, strict=True))
    save_image(captioned_grid(rows, row_names=names, column_names=columns, scale=3), path)


def layout(pipe: DARPipeline, photo: Image.Image, path: Path) -> None:
    """The reference, and for more and more of its tokens what several classes make of them."""
    names = ["airplane", "deer", "ship", "truck"]
    rows = []
    for kept in LAYOUT_TOKENS:
        prefix = {"layout": photo, "layout_tokens": kept} if kept else {}
        rows.append([photo, *pipe(names, **prefix).images])
    kept_names = [f"{kept} of {pipe.tokenizer.config.num_tokens} tokens kept" for kept in LAYOUT_TOKENS]
    save_image(captioned_grid(rows, row_names=kept_names, column_names=["reference", *names], scale=3), path)


def main(
    photo: Annotated[Path, typer.Option(help="Picture that the journey and layout figures start from.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("docs/images"),
) -> None:
    """Draw all."""
    pipe = DARPipeline.from_pretrained()
    picture = centre_crop(read_image(photo), pipe.tokenizer.config.image_size)
    out.mkdir(parents=True, exist_ok=True)
    journey(pipe, picture, out / "journey.png")
    classes(pipe, out / "classes.png")
    previews(pipe, out / "previews.png")
    layout(pipe, picture, out / "layout.png")


if __name__ == "__main__":
    typer.run(main)
