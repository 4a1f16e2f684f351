"""``dar demo``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dar.cli import checks, options
from dar.cli.demo_commands import DemoCommands
from dar.cli.loading import loading
from dar.cli.sampling import DRAWING, as_options, print_settings, setting_options
from dar.dtypes import FLOAT32
from dar.generation.settings import GivenSettings

if TYPE_CHECKING:
    from dar.pipeline import DARPipeline


@setting_options(DRAWING)
def demo(
    out: Annotated[Path, typer.Option(help="The page, an HTML file.")] = Path("demo.html"),
    model: options.Model = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of pictures to keep the layout of and to reconstruct.")
    ] = None,
    class_: options.OnlyClasses = None,
    seed: options.Seed = 0,
    *,
    given: GivenSettings,
    device: options.Device = "cpu",
    dtype: options.Dtype = FLOAT32,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a page that is there already.")] = False,
) -> None:
    """Show what a model does on one HTML page: classes, coarse to fine, layout control, reconstructions.

    The page holds all that it shows, and the commands that make the same.

    Example: dar demo --images photos/ --out demo.html
    """
    checks.model(model, classes=class_ or ())
    checks.paths("folder of pictures", images)
    options.probe_output(out.parent, [out.name], overwrite=overwrite)
    with loading():
        from dar.demo.job import make_demo
        from dar.demo.page import demo_page
        from dar.files import writing
        from dar.pipeline import DARPipeline

    with options.interruptible("no page was written"):
        pipe = DARPipeline.from_pretrained(model, device=device, dtype=dtype)
        config = pipe.prior.config
        chosen = [config.class_index(wanted) for wanted in class_] if class_ else None
        print_settings(pipe, given)
        shown = make_demo(pipe, {**given}, classes=chosen, images=images, seed=seed, on_section=_print_section)  # type: ignore[typeddict-item]
        commands = DemoCommands(config, model, device, dtype, seed, as_options(given))
        page = demo_page(shown, _model_info(pipe, model), commands.by_section(shown))
        with writing(out) as aside:
            aside.write_text(page, encoding="utf-8", errors="replace")  # names of files may be no text
    options.say(f"{'page':<16}{out}, open {out.resolve().as_uri()}")


def _print_section(section: str, count: int, seconds: float) -> None:
    options.say(f"{section:<16}{count} images in {seconds:.1f} s")


def _model_info(pipe: "DARPipeline", model: str | None) -> dict[str, str]:
    """Collect facts about the model and the machine, in words."""
    import torch

    from dar.environment import hardware
    from dar.model_folder import BUNDLED

    config, machine = pipe.tokenizer.config, hardware()
    where = pipe.tokenizer.device
    is_gpu = where.type == "cuda"
    return {
        "model": model or f"{BUNDLED}, bundled",
        "images": f"{config.image_size} x {config.image_size} pixels",
        "tokens": f"{config.num_tokens} in {config.num_groups} groups",
        "parameters": " + ".join(
            f"{sum(one.numel() for one in part.parameters()) / 1e6:.2f} M {name}"
            for name, part in (("tokenizer", pipe.tokenizer), ("prior", pipe.prior))
        ),
        "computed on": torch.cuda.get_device_name(where) if is_gpu else f"{machine['cores']} CPU cores",
    }
