"""``dar evaluate statistics``."""

from pathlib import Path
from typing import Annotated

import typer

from dar.cli import checks, options
from dar.cli.evaluate import shared
from dar.cli.option_groups import grouped


@grouped
def statistics(
    *,
    data: Annotated[str, typer.Argument(help=f"An .npz of images, or a data set. {options.SOURCES}")],
    image_size: Annotated[int, typer.Option(min=1, help="Side of the squares that a data set is cropped to.")],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    image_column: options.ImageColumn = "",
    extractor: Annotated[str, typer.Option(help=shared.EXTRACTORS)] = "inception",
    compute: shared.ComputeOptions,
) -> None:
    """Look at reference images once, for --reference of the other commands.

    Example: dar evaluate statistics photos/ --image-size 256 --out photos-inception.safetensors
    """
    from dar.errors import DARError
    from dar.extras import require_extra

    require_extra("evaluate")
    checks.references([data])
    checks.extractors(extractor)
    from dar.evaluate.reference import load_reference
    from dar.features.loading import load_extractor
    from dar.files import refuse_existing

    if out.suffix != ".safetensors":
        raise DARError(f"statistics are written as a .safetensors file, not {out.name!r}: choose another name")
    refuse_existing(out)
    options.probe_output(out.parent)
    with options.interruptible(shared.STARTS_ANEW):
        space = load_extractor(extractor, compute.device)
        reference = load_reference(data, space, image_size, compute.batch_size, compute.workers, image_column)
    reference.save(out)
    options.say(f"{out}: statistics of {data} as {reference.extractor} sees it")
