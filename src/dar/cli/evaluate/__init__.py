"""``dar evaluate`` and its commands."""

import typer

from dar.cli.evaluate import compare, generation, layout, reconstruction, samples, statistics, sweep

app = typer.Typer(no_args_is_help=True)
for command in (
    generation.generation,
    samples.samples,
    reconstruction.reconstruction,
    layout.layout,
    sweep.sweep,
    statistics.statistics,
    compare.compare,
):
    app.command()(command)


@app.callback()
def evaluate() -> None:
    """Measure what models make, and compare."""
