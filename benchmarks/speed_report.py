"""What the speed benchmark writes: speed.json, the table speed.md, and the plot speed.png."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.hardware import best, best_name
from benchmarks.speed_cases import SWEPT
from dar.files import write_json, writing
from dar.plots import COLOURS, new_figure, png, set_up

Results = dict[str, Any]

COLUMNS = (
    "case",
    "what",
    "of",
    "seconds",
    "least to largest",
    "runs",
    "ms each",
    "floor",
    "floor / time",
    "bound by",
    "/ ours",
)

NOTES = """\
Seconds are medians of runs after one that is not counted; `ms each` is of a token or a step. The floor is, for each
token or step, the longer one of reading weights and cache at the read bandwidth and of computing at the matrix rate of
the type; weights that stay in a cache can be read faster than that. `/ ours`: how many times as long as ours for the
same."""

_AXES = {"tokens": "N, tokens of an image", "pixels": "image size, pixels", "batch": "images at once"}


def write(results: Results, out: Path) -> None:
    """Write all three, each whole or not at all; the plot once there is something to plot."""
    write_json(out / "speed.json", results)
    with writing(out / "speed.md") as aside:
        aside.write_text(markdown(results), encoding="utf-8")
    if any(_points(results, swept) for swept in SWEPT):
        with writing(out / "speed.png") as aside:
            aside.write_bytes(plot(results))


def markdown(results: Results) -> str:
    """Machine, floor, and a row for each measure."""
    lines = [*_machine(results), "", *_floor_table(results["floor"]), "", *_table(results)]
    lines += ["", *_notes(results)]
    return "\n".join(lines) + "\n"


def _machine(results: Results) -> list[str]:
    processor, versions = results["processor"], results["versions"]
    named = ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "transformers"))
    facts = [
        processor["name"],
        results["hardware"]["machine"],
        f"{processor['threads']} threads",
        f"last cache {processor['last_cache_bytes'] / 2**20:.0f} MiB",
        f"in hardware {', '.join(processor['in_hardware'])} ({', '.join(processor['instructions'])})",
        *results["hardware"]["gpus"],
        f"device {results['device']}",
    ]
    lines = [
        f"Measured {results['time']} at {results['git_revision'] or 'no commit'} by `{results['command']}`: {named}.",
        "",
        f"{'; '.join(facts)}.",
    ]
    compared = results["compared"]
    return lines + (["", f"*There* is commit {compared}, run in turn with this one."] if compared else [])


def _floor_table(floor: Mapping[str, Any]) -> list[str]:
    lines = ["| floor | best way | median | least to largest |", "|---|---|---|---|"]
    lines.append(_floor_row("read bandwidth, GB/s", floor["bandwidth"], 1e9))
    return lines + [_floor_row(f"{name} products, GFLOP/s", found, 1e9) for name, found in floor["rates"].items()]


def _floor_row(name: str, found: Mapping[str, Any], unit: float) -> str:
    way = best_name(found)
    least, most = found[way]["min"] / unit, found[way]["max"] / unit
    return f"| {name} | {way} | {best(found) / unit:.4g} | {least:.4g} to {most:.4g} |"


def _table(results: Results) -> list[str]:
    columns = [*COLUMNS, *(("there", "here / there") if results["compared"] else ())]
    lines = [_line(columns), "|" + "---|" * len(columns)]
    for case in results["cases"]:
        for one in case["measured"]:
            for name in ("first_preview", "seconds"):
                if name in one:
                    cells = _cells(case, one, name)
                    lines.append(_line(cells + (_there(one, name) if results["compared"] else [])))
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(case: Results, one: Results, name: str) -> list[str]:
    found = one[name]
    least = found["floor"]
    return [
        case["name"],
        f"{one['part']}, first preview" if name == "first_preview" else one["part"],
        _extent(case, one),
        _seconds(found["median"]),
        f"{_seconds(found['min'])} to {_seconds(found['max'])}",
        str(len(found["runs"])),
        f"{1000 * found['each']:.4g}" if "each" in found else "",
        _seconds(least["seconds"]),
        f"{found['reached']:.1%}",
        least["bound_by"],
        f"{found['times_ours']:.2f}" if "times_ours" in found else "",
    ]


def _extent(case: Results, one: Results) -> str:
    """Which tokens or steps were run, in words; those of a part are counted from 1."""
    counted = one["counted"]
    total = case["num_tokens" if counted == "tokens" else "steps"]
    if one["first"] == 0:
        return f"{one['stop']} of {total} {counted}"
    return f"{counted} {one['first'] + 1} to {one['stop']} of {total}"


def _there(one: Results, name: str) -> list[str]:
    found = one[name]
    if "there" in found:
        return [_seconds(found["there"]["median"]), f"{found['of_there']:.2f}"]
    return [one.get("not_measured_there", "").replace("|", "/"), ""]


def _seconds(value: float) -> str:
    return f"{value:.4g}"


def _notes(results: Results) -> list[str]:
    left_out = [
        f"- {case['name']}, {part}: {why}" for case in results["cases"] for part, why in case["not_measured"].items()
    ]
    return [NOTES] + (["", "Not measured:", "", *left_out] if left_out else [])


def plot(results: Results) -> bytes:
    """Cost against the number of tokens, the image size and the batch, as far as measured, and the floor: a PNG."""
    panels = {swept: points for swept in SWEPT if (points := _points(results, swept))}
    figure = new_figure(4.5 * len(panels), 4.2)
    for axes, (swept, points) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        set_up(axes, f"Cost against {_AXES[swept]}", _AXES[swept], "seconds")
        _plot_points(axes, points)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    return png(figure, 110)


def _points(results: Results, swept: str) -> list[tuple[int, Results]]:
    """What was changed to what, and the measure of it, in order."""
    cases = [one for one in results["cases"] if one["swept"] == swept and one["measured"]]
    return [(one["value"], one["measured"][0]) for one in sorted(cases, key=lambda one: one["value"])]


def _plot_points(axes: Any, points: Sequence[tuple[int, Results]]) -> None:
    x = [value for value, _ in points]
    for colour, name, label in ((COLOURS[0], "seconds", "all images"), (COLOURS[1], "first_preview", "first preview")):
        found = [one[name] for _, one in points]
        medians = [of["median"] for of in found]
        spread = [[of["median"] - of["min"] for of in found], [of["max"] - of["median"] for of in found]]
        axes.errorbar(x, medians, spread, marker="o", color=colour, label=label, capsize=2)
        axes.plot(x, [of["floor"]["seconds"] for of in found], "--", color=colour, label=f"{label}, floor")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(x, [str(value) for value in x])
