"""``dar evaluate`` and its commands."""

import typer

from dar.cli.evaluate import compare

app = typer.Typer(no_args_is_help=True)
app.command("compare")(compare.compare)


@app.callback()
def evaluate() -> None:
    """Measure what models make, and compare."""
