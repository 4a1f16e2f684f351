"""``dar export llama`` and ``dar import llama``."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from dar.cli import checks, options

export_app = typer.Typer(no_args_is_help=True)
import_app = typer.Typer(no_args_is_help=True)


@export_app.callback()
def export() -> None:
    """Write a prior for other programs."""


@import_app.callback()
def import_() -> None:
    """Read a prior from other programs."""


@export_app.command("llama")
def export_llama(
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    model: Annotated[str | None, typer.Argument(help="Folder or Hub id; the bundled model by default.")] = None,
) -> None:
    """Write the prior as a folder that transformers and serving engines load by themselves.

    Example: dar export llama model/ --out llama/
    """
    checks.tokenizer(model)
    from dar.convert.llama import export_llama
    from dar.pipeline import load_prior

    export_llama(load_prior(model), out)
    options.say(f"wrote {out}")


@import_app.command("llama")
def import_llama(
    folder: Annotated[Path, typer.Argument(help="Folder that transformers saved.")],
    tokenizer: Annotated[str, typer.Option(help="Model, or tokenizer alone, whose tokens the Llama predicts.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
) -> None:
    """Make a model of a tokenizer and a Llama that was trained elsewhere on its tokens.

    Example: dar import llama llama/ --tokenizer model/ --out new-model/
    """
    checks.paths("folder", folder)
    checks.tokenizer(tokenizer)
    from dar.convert.llama import import_llama
    from dar.files import refuse_existing, writing
    from dar.generation.settings import load_settings, save_settings
    from dar.model_folder import PRIOR, TOKENIZER, model_folder, part_folder
    from dar.pipeline import load_tokenizer

    refuse_existing(out)
    prior = import_llama(folder, load_tokenizer(tokenizer).config)
    with writing(out) as aside:
        shutil.copytree(part_folder(model_folder(tokenizer), TOKENIZER), aside / TOKENIZER)
        prior.save_pretrained(aside / PRIOR)
        save_settings(aside, load_settings(model_folder(tokenizer)))
    options.say(f"wrote {out}")
