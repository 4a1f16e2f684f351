"""``dar generate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dar.cli import checks, options
from dar.cli.loading import loading
from dar.cli.sampling import ALL, flag, setting_options
from dar.dtypes import FLOAT32
from dar.errors import DARError
from dar.generation.settings import GivenSettings

if TYPE_CHECKING:
    from dar.cli.album import Album, Journey
    from dar.cli.generation_plan import Plan
    from dar.pipeline import DARPipeline

MOST_IMAGES = 100_000
FIXED_BY_PICTURE = ("class_", "num", "seed", *ALL, "layout", "layout_tokens", "dtype")
"""Options that do not go with --like."""

ANIMATED_ENDINGS = (".gif", ".png", ".webp")


@setting_options()
def generate(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    class_: Annotated[
        list[str] | None, typer.Option("--class", help="Class name or index; repeat it for several.")
    ] = None,
    like: Annotated[
        Path | None, typer.Option(help="Picture that this command made: make it again, instead of all settings.")
    ] = None,
    model: options.Model = None,
    num: Annotated[int, typer.Option(min=1, max=MOST_IMAGES, help="Images of each class; dar sample makes more.")] = 1,
    seed: options.Seed = 0,
    *,
    given: GivenSettings,
    previews: Annotated[bool, typer.Option("--previews", help="Also draw the way from coarse to fine.")] = False,
    animate: Annotated[
        Path | None, typer.Option(help="Also write that way as an animation: a .webp, .gif or .png file.")
    ] = None,
    layout: Annotated[Path | None, typer.Option(help="Picture whose layout to keep.")] = None,
    layout_tokens: Annotated[int | None, typer.Option(help="How many of its first tokens to keep.")] = None,
    batch_size: options.BatchSize = "32",
    device: options.Device = "cpu",
    dtype: options.Dtype = FLOAT32,
    show: Annotated[
        bool | None,
        typer.Option("--show/--no-show", help="Pictures in the terminal; where it has 2^24 colours, by default."),
    ] = None,
    metadata: options.Metadata = True,
    overwrite: options.Overwrite = False,
) -> None:
    """Generate images of classes: PNG files, a contact sheet, and a record of the settings.

    Stop it whenever you like: pictures are written as they come. Each records how it was made, for `dar info` and
    --like.

    Example: dar generate --class ship --class frog --num 4 --seed 0 --guidance 1:3 --previews --out out/

    Example: dar generate --like out/0003-ship.png --out again/
    """
    _check_options(context, class_, like, animate)
    at_once = options.batch_size(batch_size)
    checks.model(model, classes=class_ or ())
    checks.paths("picture", layout, like)
    with options.interruptible("no image was begun"), loading():
        from dar.cli.album import ANIMATION, RECORD, SHEET, STRIP, Album, Journey
        from dar.cli.generation_plan import plan_like, plan_of_options
        from dar.generation.provenance import read_provenance
        from dar.pipeline import DARPipeline

        made = None if like is None else read_provenance(like)
        pipe = DARPipeline.from_pretrained(model, device=device, dtype=dtype if made is None else made.dtype)
        if like is not None and made is not None:
            plan = plan_like(pipe, model, like, made)
        else:
            plan = plan_of_options(pipe, model, class_ or [], num, seed, given, layout, layout_tokens, at_once)
    names = [plan.file(i) for i in range(len(plan.images))] + [SHEET, RECORD, *([STRIP, ANIMATION] if previews else [])]
    _prepare_files(out, names, like, animate, overwrite=overwrite)

    album = Album(plan, out, metadata=metadata)
    journey = Journey(plan, pipe.tokenizer.config.tokens_per_group) if previews or animate else None
    interrupted = _generate(pipe, plan, album, journey, show)
    if album.made:
        _write_sheets(album, journey, animate, previews=previews)
    if interrupted:
        options.say(f"interrupted: {len(album.made)} of {len(plan.images)} images are in {out}")
        raise typer.Exit(options.INTERRUPTED)
    if like is not None:
        options.say(_compared(like, out / plan.file(0)))


def _check_options(context: typer.Context, classes: list[str] | None, like: Path | None, animate: Path | None) -> None:
    if like is None and not classes:
        raise DARError("nothing to generate: pass --class with a name or an index, or --like with a picture")
    sources = {name: context.get_parameter_source(name) for name in FIXED_BY_PICTURE}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if like is not None and given:
        raise DARError(
            f"--like makes the same picture again, so that {flag(given[0])} does not go with it: leave one out"
        )
    if animate is not None and animate.suffix.lower() not in ANIMATED_ENDINGS:
        raise DARError(f"{animate} does not end in {', '.join(ANIMATED_ENDINGS)}: name the animation so")


def _prepare_files(out: Path, names: list[str], like: Path | None, animate: Path | None, *, overwrite: bool) -> None:
    """Make sure, before anything is spent, that all files can be written and none is lost by it."""
    taken = {(out / name).resolve() for name in names}
    if animate is not None and animate.resolve() in taken:
        raise DARError(f"{animate} is written with other content: choose another name for the animation")
    if like is not None and like.resolve() in taken:
        raise DARError(f"{like} would be replaced by its copy: choose another --out folder")
    options.probe_output(out, names, overwrite=overwrite)
    if animate is not None:
        options.probe_output(animate.parent, [animate.name], overwrite=overwrite)


def _generate(pipe: "DARPipeline", plan: "Plan", album: "Album", journey: "Journey | None", show: bool | None) -> bool:
    """Generate all, or as many as there are when Ctrl-C comes; returns whether it came."""
    from dar.cli.watch import watching

    try:
        steps = plan.images[0].settings.steps or pipe.tokenizer.config.num_steps
        with watching(len(plan.images), steps, show=show) as watch:
            for start in range(0, len(plan.images), plan.batch_size):
                batch = plan.images[start : start + plan.batch_size]
                seeds = [one.seed for one in batch]
                for preview in pipe.stream([one.class_index for one in batch], **plan.settings | {"seed": seeds}):
                    watch(preview)
                    if journey is not None:
                        journey.add(start, preview)
                    if preview.is_final:
                        album.add(preview)
    except KeyboardInterrupt:
        return True
    return False


def _write_sheets(album: "Album", journey: "Journey | None", animate: Path | None, *, previews: bool) -> None:
    from dar.cli.album import ANIMATION, STRIP

    album.write_record()
    options.say(f"{len(album.made)} {'image' if len(album.made) == 1 else 'images'} and {album.write_sheet()}")
    if journey is not None and previews:
        journey.write_strip(album.out / STRIP)
        journey.write_animation(album.out / ANIMATION)
        options.say(f"coarse to fine: {album.out / STRIP} and {album.out / ANIMATION}")
    if journey is not None and animate is not None:
        journey.write_animation(animate)
        options.say(f"animation: {animate}")


def _compared(like: Path, again: Path) -> str:
    """Describe how much a picture that was made again differs from the first."""
    import numpy as np

    from dar.images import read_image

    first, second = (np.asarray(read_image(path), dtype=np.int16) for path in (like, again))
    if first.shape != second.shape:
        return f"{like} was resized since it was made, so that the two cannot be compared"
    if not (largest := abs(first - second).max()):
        return f"{again} equals {like} to the last digit"
    return f"{again} differs from {like} by at most {largest} of 255 levels"
