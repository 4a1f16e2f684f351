"""``dar info``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch

    from dar.prior import PriorConfig
    from dar.tokenizer import TokenizerConfig


def info(
    model: Annotated[str | None, typer.Argument(help="Folder or Hub id; the bundled model unless told.")] = None,
) -> None:
    """Tell what a model, or a tokenizer alone, is: parameters, tokens, classes, recipe and figures.

    Example: dar info runs/prior/model
    """
    from dar.model_folder import TOKENIZER, model_folder

    folder = model_folder(model)
    from dar.pipeline import DARPipeline, load_tokenizer

    if (folder / TOKENIZER).is_dir():
        pipe = DARPipeline.from_pretrained(folder)
        _tell_tokenizer(pipe.tokenizer.config, _parameters(pipe.tokenizer))
        _tell_prior(pipe.prior.config, _parameters(pipe.prior))
    else:
        tokenizer = load_tokenizer(folder)
        _tell_tokenizer(tokenizer.config, _parameters(tokenizer))
    _tell_records(folder)


def _parameters(model: "torch.nn.Module") -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _tell_tokenizer(config: "TokenizerConfig", parameters: int) -> None:
    typer.echo(f"tokenizer  {parameters / 1e6:.2f} M parameters")
    typer.echo(f"images     {config.image_size} x {config.image_size}, {config.num_steps} denoising steps")
    typer.echo(
        f"tokens     {config.num_tokens} in {config.num_groups} groups, codebook of {config.codebook_size} entries"
    )


def _tell_prior(config: "PriorConfig", parameters: int) -> None:
    names = config.class_names
    typer.echo(f"prior      {parameters / 1e6:.2f} M parameters, {config.depth} layers")
    typer.echo(f"classes    {len(names)}: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}")


def _tell_records(folder: Path) -> None:
    from dar.files import read_json
    from dar.model_folder import FIGURES, RECIPE

    recipe, figures = folder / RECIPE, folder / FIGURES
    typer.echo(f"recipe     {recipe if recipe.is_file() else 'not recorded with this model'}")
    if recipe.is_file():
        typer.echo("".join(f"  {line}\n" for line in recipe.read_text(encoding="utf-8").splitlines()), nl=False)
    typer.echo(f"figures    {figures if figures.exists() else 'not recorded with this model'}")
    for name, value in read_json(figures).items() if figures.exists() else ():
        typer.echo(f"  {name.replace('_', ' ')}: {json.dumps(value)}")
