"""``dar reconstruct``."""

from pathlib import Path
from typing import Annotated

import typer

from dar.cli import checks, options
from dar.cli.loading import loading
from dar.dtypes import FLOAT32


def reconstruct(
    image: Annotated[list[Path], typer.Argument(help="Pictures of any common kind.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    model: options.Model = None,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    dtype: options.Dtype = FLOAT32,
    overwrite: options.Overwrite = False,
) -> None:
    """Draw each picture beside its reconstructions from the first 1, 2, ... and all token groups.

    MODEL may be a whole model or a tokenizer alone.

    Example: dar reconstruct cat.jpg dog.png --out out/
    """
    checks.tokenizer(model)
    checks.paths("picture", *image)
    with loading():
        from dar.generation.settings import load_settings
        from dar.images import centre_crop, check_finite, read_image, save_image, to_pixels
        from dar.metrics.similarity import psnr
        from dar.model_folder import model_folder
        from dar.pipeline import load_tokenizer
        from dar.reconstruction import reconstruction_sheet, reconstructions

    images = [read_image(path) for path in image]
    files = [f"{i:04d}-{path.stem}.png" for i, path in enumerate(image)]
    options.probe_output(out, files, overwrite=overwrite)
    tokenizer, solver = load_tokenizer(model, device=device, dtype=dtype), load_settings(model_folder(model)).solver
    with options.interruptible("the pictures named above are finished"):
        for i, (picture, file) in enumerate(zip(images, files, strict=True)):
            pixels = to_pixels([centre_crop(picture, tokenizer.config.image_size)])
            stages = [stage.cpu() for stage in reconstructions(tokenizer, pixels, seed + i, solver)]
            check_finite(stages[-1])
            save_image(reconstruction_sheet(pixels, stages), out / file)
            curve = " ".join(f"{psnr(stage, pixels).item():.1f}" for stage in stages)
            options.say(f"{out / file}: PSNR in dB from 1 to {len(stages)} groups {curve}")
