"""How fast generation is, beside the floor that the hardware sets and beside others, in one run.

    python -m benchmarks --only bundled --only 'L-1-*'
    python -m benchmarks --quick --compare HEAD~10

Writes speed.json, speed.md and speed.png after every case, so that Ctrl-C loses none that is measured.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks import speed_report
from benchmarks.hardware import measured_floor, processor
from benchmarks.speed import QUICK, Effort, Side, measure_case
from benchmarks.speed_cases import BUNDLED, Case, all_cases, chosen, quick_cases
from benchmarks.speed_compare import commit_hash, other_commit
from benchmarks.speed_parts import Workbench
from dar.device import as_device
from dar.environment import run_record
from dar.errors import DARError
from dar.progress import progress_bar

THREADING = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def record(device: torch.device, effort: Effort, compare: str | None) -> dict[str, Any]:
    """Everything that the figures depend on, the floor included, and no case yet."""
    return {
        **run_record(),
        "processor": processor(),
        "threading": {name: os.environ[name] for name in THREADING if name in os.environ},
        "device": str(device),
        "compared": None if compare is None else commit_hash(compare),
        "floor": measured_floor(device, effort.floor_budget, effort.floor_bytes, effort.shapes),
        "cases": [],
    }


def measure(
    cases: Sequence[Case], out: Path, device: torch.device, effort: Effort, compare: str | None = None
) -> dict[str, Any]:
    """Measure cases one by one, and write what is there after each."""
    with ExitStack() as stack:
        other: Side | None = None
        if compare is not None:
            other = stack.enter_context(other_commit(compare, str(device), torch.get_num_threads()))
        bar = stack.enter_context(progress_bar(len(cases), "case", "measuring speed"))
        bench, results = Workbench(device), record(device, effort, compare)
        for case in cases:
            bar.set_postfix_str(case.name)
            results["cases"].append(measure_case(case, bench, results["floor"], effort, other))
            speed_report.write(results, out)
            bar.update()
    return results


def main(
    out: Annotated[Path, typer.Option(help="Folder for speed.json, speed.md and speed.png.")] = Path("out/benchmarks"),
    only: Annotated[
        list[str] | None,
        typer.Option(help="A model's cases, or cases by name, * standing for anything; repeatable."),
    ] = None,
    quick: Annotated[bool, typer.Option(help="The bundled model alone, with few repeats.")] = False,
    compare: Annotated[
        str | None, typer.Option(help="A commit whose source runs the same cases in turn with this one.")
    ] = None,
    model: Annotated[str, typer.Option(help="Folder of a model to measure in place of the bundled one.")] = BUNDLED,
    device: Annotated[str, typer.Option(help="Where to compute.")] = "cpu",
    longest: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds a run may take; of longer ones a part is measured, or nothing, and told."),
    ] = None,
) -> None:
    """Measure, print the table, and write."""
    effort = QUICK if quick else Effort()
    if longest is not None:
        effort = Effort(**vars(effort) | {"longest": longest})
    try:
        cases = chosen(quick_cases(model) if quick else all_cases(model), only or ())
        results = measure(cases, out, as_device(device), effort, compare)
    except KeyboardInterrupt:
        typer.echo(f"stopped: the cases measured so far, if any, are in {out}", err=True)
        raise typer.Exit(130) from None
    except DARError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(speed_report.markdown(results))


if __name__ == "__main__":
    typer.run(main)
