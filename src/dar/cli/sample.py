"""``dar sample``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dar.cli import checks, options
from dar.cli.loading import loading
from dar.cli.option_groups import SampleOptions, grouped
from dar.cli.sampling import describe, made_images, print_settings, setting_options
from dar.dtypes import FLOAT32
from dar.generation.settings import GivenSettings

if TYPE_CHECKING:
    from dar.pipeline import DARPipeline
    from dar.samples.sampling import SampleSettings


@grouped
@setting_options()
def sample(
    *,
    num: options.Num,
    out: Annotated[Path, typer.Option(help="The .npz file: new, or begun by the same command.")],
    model: options.Model = None,
    class_: options.OnlyClasses = None,
    sampled: SampleOptions,
    given: GivenSettings,
    png: Annotated[Path | None, typer.Option(help="New folder for the same images as PNG files.")] = None,
    metadata: options.Metadata = True,
    device: options.Device = "cpu",
    dtype: options.Dtype = FLOAT32,
) -> None:
    """Sample many images for evaluation, into the .npz that the field's tools read.

    Stop it whenever you like: the same command goes on where it was. Under torchrun or accelerate launch, or with
    RANK and WORLD_SIZE set by hand, processes share the work; one or many, they give the same bytes.

    Example: dar sample --num 50000 --out samples.npz --labels balanced --guidance 1:3 --device cuda

    Example: torchrun --nproc-per-node 8 -m -- dar sample --num 50000 --out samples.npz --device cuda
    """
    process, processes = options.rank_and_world_size()
    checks.model(model, classes=class_ or ())
    with loading():
        from dar.files import refuse_existing
        from dar.pipeline import DARPipeline
        from dar.samples.folder import write_pngs
        from dar.samples.job import sample as sample_images
        from dar.samples.opening import open_samples

    if png is not None and process == 0:
        refuse_existing(png)
    pipe = DARPipeline.from_pretrained(model, device=options.own_device(device), dtype=dtype)
    settings = sampled.settings(pipe, given, num, class_)
    if process == 0:
        print_settings(pipe, given)
    described = {**describe(model), "class_names": list(pipe.prior.config.class_names)}
    with options.interruptible("the same command goes on"):
        complete = sample_images(pipe, settings, out, described=described, process=process, processes=processes)
        if complete and png is not None and process == 0:
            write_pngs(open_samples(out), png, _texts(pipe, model, settings) if metadata else None)
    if complete:
        options.say(f"complete: {out} holds {num} images, {out.with_suffix('.json')} tells how they were made")
    else:
        options.say("this process has done its part; process 0 joins all parts")


def _texts(pipe: "DARPipeline", model: str | None, settings: "SampleSettings") -> list[dict[str, str]]:
    """Describe for the file of each image how it was made."""
    classes = [settings.label(i) for i in range(settings.num)]
    made = made_images(pipe, model, settings.generation, classes, settings.seed)
    return [one.texts() for one in made]
