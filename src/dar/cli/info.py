"""``dar info``."""

import json
from typing import Annotated

import typer


def info(
    model: Annotated[str | None, typer.Argument(help="Folder or Hub id; the bundled model unless told.")] = None,
) -> None:
    """Tell what a model is: parameters, tokens, classes, recipe and figures.

    Example: dar info runs/prior/model
    """
    from dar.pipeline import FIGURES, RECIPE, DARPipeline, model_folder
    from dar.storage import read_json

    folder = model_folder(model)
    pipe = DARPipeline.from_pretrained(folder)
    sizes = pipe.tokenizer.config
    names = pipe.prior.config.class_names
    for title, part in (("tokenizer", pipe.tokenizer), ("prior", pipe.prior)):
        count = sum(parameter.numel() for parameter in part.parameters())
        typer.echo(f"{title:<10} {count / 1e6:.2f} M parameters")
    typer.echo(f"images     {sizes.image_size} x {sizes.image_size}, {sizes.num_steps} denoising steps")
    typer.echo(
        f"tokens     {sizes.num_tokens} in {sizes.num_groups} groups, from a codebook of {sizes.codebook_size} entries"
    )
    typer.echo(f"classes    {len(names)}: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}")
    recipe = folder / RECIPE
    typer.echo(f"recipe     {recipe if recipe.exists() else 'not recorded with this model'}")
    if not (folder / FIGURES).exists():
        typer.echo("figures    not recorded with this model")
        return
    typer.echo("figures")
    for name, value in read_json(folder / FIGURES).items():
        typer.echo(f"  {name.replace('_', ' ')}: {json.dumps(value)}")
