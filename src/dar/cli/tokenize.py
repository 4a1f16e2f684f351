"""``dar tokenize``."""

from pathlib import Path
from typing import Annotated

import typer

from dar.cli import checks, options
from dar.dtypes import FLOAT32
from dar.errors import DARError

MOST_IN_A_SHARD = 10_000_000


def tokenize(
    data: Annotated[str, typer.Option(help=options.SOURCES)],
    out: Annotated[Path, typer.Option(help="Folder for the shards: new, empty, or begun by the same command.")],
    model: options.Model = None,
    image_column: options.ImageColumn = "",
    label_column: options.LabelColumn = "",
    ten_crop: Annotated[
        bool, typer.Option("--ten-crop", help="Ten views of each image: corners and centre, and their mirror images.")
    ] = False,
    flip: Annotated[bool, typer.Option(help="Also the mirror image of each central square.")] = True,
    batch_size: Annotated[int, typer.Option(min=1, max=options.MOST_AT_ONCE, help="Views encoded at a time.")] = 128,
    device: options.Device = "cpu",
    dtype: options.Dtype = FLOAT32,
    workers: options.Workers = 0,
    shard_size: Annotated[int, typer.Option(min=1, max=MOST_IN_A_SHARD, help="Images in a file.")] = 8192,
    max_broken_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of images that may be unreadable.")
    ] = 0.01,
) -> None:
    """Compute the tokens of all images once, for dar train prior --tokens.

    Stop it whenever you like: the same command goes on where it was. Under torchrun or accelerate launch, or with
    RANK and WORLD_SIZE set by hand, processes share the work.

    Example: dar tokenize --data photos/ --model runs/tokenizer/model --out shards/ --ten-crop --device cuda
    """
    from dar.extras import require_extra

    require_extra("train")
    if ten_crop and not flip:
        raise DARError("ten crops include their mirror images: leave --no-flip out")
    checks.data(data)
    checks.tokenizer(model)
    from dar.data import ImageDataset
    from dar.pipeline import load_tokenizer
    from dar.train.token_manifest import read_manifest
    from dar.train.token_shards import missing_shards
    from dar.train.tokenization import tokenize_images

    process, processes = options.rank_and_world_size()
    with options.interruptible("the same command goes on"):
        images = ImageDataset(data, image_column=image_column, label_column=label_column)
        if process == 0:
            options.say(images.summary.sentence())
        complete = tokenize_images(
            load_tokenizer(model, device=options.own_device(device), dtype=dtype),
            images,
            out,
            views=10 if ten_crop else 2 if flip else 1,
            batch_size=batch_size,
            workers=workers,
            shard_size=shard_size,
            process=process,
            processes=processes,
            max_broken_share=max_broken_share,
        )
    manifest = read_manifest(out)
    if complete:
        options.say(f"complete: {out} holds the tokens of {manifest.images} images, {manifest.views} views of each")
    else:
        options.say(
            f"this process has done its part; {missing_shards(out, manifest)} of {manifest.shards} shards are missing: "
            "wait for the other processes, or run this command again"
        )
