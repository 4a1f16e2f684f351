"""``dar evaluate`` and its commands."""

import typer

from dar.cli.evaluate import compare, generation, layout, reconstruction, samples, statistics, sweep

app = typer.Typer(no_args_is_help=True)
app.command("generation")(generation.generation)
app.command("samples")(samples.samples)
app.command("reconstruction")(reconstruction.reconstruction)
app.command("layout")(layout.layout)
app.command("sweep")(sweep.sweep)
app.command("statistics")(statistics.statistics)
app.command("compare")(compare.compare)


@app.callback()
def evaluate() -> None:
    """Measure what models make, and compare."""
