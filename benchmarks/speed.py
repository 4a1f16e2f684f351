"""Time each part of each case in turn, and set it beside its floor and what it is compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

import torch

from benchmarks.floors import Work, floor, step_groups, step_works, token_works
from benchmarks.hardware import SHAPES, Hardware, Shape, best, best_name, limits, matrix_rates, read_bandwidth
from benchmarks.speed_cases import CALLED, DECODED, DRAWN, DYNAMIC, NAIVE, STATIC, STREAMED, Case
from benchmarks.speed_parts import Span, Workbench
from benchmarks.timing import spread
from dar.tokenizer import TokenizerConfig

TOKEN_PARTS = (DRAWN, DYNAMIC, STATIC)
OURS = (DRAWN, DECODED, STREAMED, CALLED)
"""What another commit is asked to do too."""

COMPARED = {DYNAMIC: DRAWN, STATIC: DRAWN, NAIVE: STREAMED}
"""What of ours does what others do."""

ENDS = 16
"""Tokens that are timed at the start and at the end where all would take long."""


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        budget: seconds of runs of each part.
        fewest: runs of each part, however long.
        most: runs of each part, however short.
        longest: seconds that a run may be expected to take; of what would take longer a part is measured, or nothing.
        floor_budget: seconds of runs for each number of the floor.
        floor_bytes: bytes that are read to measure the bandwidth; None means far more than the last cache holds.
        shapes: of the matrix products whose rate is measured.
    """

    budget: float = 20
    fewest: int = 3
    most: int = 15
    longest: float = 60
    floor_budget: float = 1
    floor_bytes: int | None = None
    shapes: tuple[Shape, ...] = SHAPES

    def repeats(self, seconds: float) -> int:
        return min(max(int(self.budget / max(seconds, 1e-9)), self.fewest), self.most)


QUICK = Effort(budget=1, fewest=2, most=5, longest=10, floor_budget=0.1)


class Measure(NamedTuple):
    """Runs of a part: which tokens or steps of it, and how often."""

    part: str
    span: Span
    repeats: int


class Side(Protocol):
    """What measures: this source, or another commit's."""

    def prepare(self, case: Case) -> None: ...

    def run(self, part: str, span: Span) -> dict[str, float]: ...


class CannotMeasure(Exception):
    """Another commit's source can't run what it was asked for."""


def plan(bench: Workbench, case: Case, effort: Effort) -> tuple[list[Measure], dict[str, str]]:
    """Decide what is measured after short runs of it, and say what is not, and why."""
    expected = _expected(bench, case)
    is_long = {part for part in case.parts if expected[part] > effort.longest}
    measures, left_out = [], {}
    for part in case.parts:
        seconds = expected[part]
        if part in is_long and part not in (*TOKEN_PARTS, DECODED):
            left_out[part] = f"a run would take about {seconds:.3g} s, more than {effort.longest:g} s"
        elif part == DECODED:
            steps = max(min(int(effort.longest * bench.steps / seconds), bench.steps), 1)
            measures.append(Measure(part, (0, steps), effort.repeats(seconds * steps / bench.steps)))
        elif part not in is_long:
            whole = (0, bench.count if part in TOKEN_PARTS else bench.steps)
            measures.append(Measure(part, whole, effort.repeats(seconds)))
        if part in is_long & set(TOKEN_PARTS) or (part == DRAWN and is_long & {DYNAMIC, STATIC}):
            measures += [
                Measure(part, (first, stop), effort.repeats(seconds * (stop - first) / bench.count))
                for first, stop in _ends(bench.count)
            ]
    return measures, left_out


def _expected(bench: Workbench, case: Case) -> dict[str, float]:
    """Seconds of a whole run of each part, from the first tokens and the first step."""
    few = (1, min(1 + ENDS, bench.count))
    wanted = [part for part in TOKEN_PARTS if part in case.parts or part == DRAWN]
    if case.parts == (DECODED,):
        wanted = []
    expected = {part: _second_run(bench, part, few) * bench.count / (few[1] - few[0]) for part in wanted}
    step = _second_run(bench, DECODED, (0, 1)) if set(case.parts) - set(TOKEN_PARTS) else 0.0
    expected[DECODED] = step * bench.steps
    tokens = expected.get(DRAWN, 0.0)
    whole = dict.fromkeys((STREAMED, CALLED), tokens + expected[DECODED])
    calls = naive_calls(bench.pipe.tokenizer.config, bench.steps)
    return expected | whole | {NAIVE: tokens + step * calls}


def _second_run(bench: Workbench, part: str, span: Span) -> float:
    bench.run(part, span)
    return bench.run(part, span)["seconds"]


def _ends(count: int) -> list[Span]:
    """The first and the last tokens; one before each span is drawn untimed."""
    few = min(ENDS, (count - 1) // 2)
    return [(1, 1 + few), (count - few, count)]


def naive_calls(config: TokenizerConfig, steps: int) -> int:
    """Network calls of decoding all groups again after each."""
    groups = step_groups(config, steps)
    return sum(group <= known for known in range(config.num_groups) for group in groups)


def measure_case(
    case: Case, bench: Workbench, start: Mapping[str, Any], effort: Effort, other: Side | None = None
) -> dict[str, Any]:
    """Measure a case; where there is another side, it runs what it can in turn with this one.

    The floor is that of the best that the hardware gave at the start of all, and before and after this case.
    """
    bench.prepare(case)
    measures, left_out = plan(bench, case, effort)
    before = measured_limits(case, start, bench.device, effort)
    runs = _run_all(measures, case, bench, other)
    hardware = limits(start).best(before).best(measured_limits(case, start, bench.device, effort))
    measured = [_figures(timed, case, bench, hardware) for timed in runs]
    _compare(measured)
    facts = asdict(case) | _facts(bench) | {"bandwidth": hardware.bandwidth, "rate": hardware.rates[case.dtype]}
    return {"name": case.name, **facts, "measured": measured, "not_measured": left_out}


def _facts(bench: Workbench) -> dict[str, Any]:
    pipe = bench.pipe
    return {
        "image_size": pipe.tokenizer.config.image_size,
        "num_tokens": bench.count,
        "steps": bench.steps,
        "prior_parameters": sum(one.numel() for one in pipe.prior.parameters()),
        "tokenizer_parameters": sum(one.numel() for one in pipe.tokenizer.parameters()),
    }


@dataclass
class Timed:
    """The runs of a measure.

    Attributes:
        measure: what is run.
        here: seconds of each run, by what they are of.
        there: the same of another commit's source.
        missing: why there are none there; empty if there are, or none were wanted.
    """

    measure: Measure
    here: list[dict[str, float]] = field(default_factory=list)
    there: list[dict[str, float]] = field(default_factory=list)
    missing: str = ""

    def run(self, bench: Side, other: Side | None) -> None:
        """Run once here, and once there."""
        part, span, _ = self.measure
        self.here.append(bench.run(part, span))
        if other is None or part not in OURS or self.missing:
            return
        try:
            self.there.append(other.run(part, span))
        except CannotMeasure as error:
            self.missing = str(error)


def _run_all(measures: Sequence[Measure], case: Case, bench: Side, other: Side | None) -> list[Timed]:
    """Run everything in turn, so that what else happens on the machine meanwhile touches all alike."""
    missing = ""
    if other is not None:
        try:
            other.prepare(case)
        except CannotMeasure as error:
            missing = str(error)
    found = [Timed(measure, missing=missing) for measure in measures]
    for timed in found:  # warms up
        Timed(timed.measure, missing=missing).run(bench, other)
    for turn in range(max((measure.repeats for measure in measures), default=0)):
        for timed in found:
            if turn < timed.measure.repeats:
                timed.run(bench, other)
    return found


def _figures(timed: Timed, case: Case, bench: Workbench, hardware: Hardware) -> dict[str, Any]:
    """Spread, floor, and floor over time of a measure; the same of its first preview where it has one."""
    part, span, _ = timed.measure
    counted = "tokens" if part in TOKEN_PARTS else "steps"
    found: dict[str, Any] = {"part": part, "counted": counted, "first": span[0], "stop": span[1]}
    for name in timed.here[0]:
        works = _works(part, span, name == "first_preview", case, bench)
        least = floor(works, hardware, case.dtype)
        here = spread([run[name] for run in timed.here])
        found[name] = {**here, "floor": least, "reached": least["seconds"] / here["median"]}
        if timed.there:
            there = spread([run[name] for run in timed.there])
            found[name] |= {"there": there, "of_there": here["median"] / there["median"]}
    if part in (*TOKEN_PARTS, DECODED):
        found["seconds"]["each"] = found["seconds"]["median"] / (span[1] - span[0])
    return found | ({"not_measured_there": timed.missing} if timed.missing else {})


def _works(part: str, span: Span, only_first: bool, case: Case, bench: Workbench) -> list[Work]:
    """What a part must do, up to its first preview or to its end."""
    tokenizer, prior, size = bench.pipe.tokenizer.config, bench.pipe.prior.config, bench.pipe.dtype.itemsize
    rows = case.batch * (2 if case.guided else 1)
    if part in TOKEN_PARTS:
        return token_works(prior, rows, size, *span)
    steps = step_works(tokenizer, case.batch, size, bench.steps)
    if part == DECODED:
        return steps[: span[1]]
    first = (step_groups(tokenizer, bench.steps)[0] + 1) * tokenizer.tokens_per_group
    tokens = token_works(prior, rows, size, 0, first if only_first else prior.num_tokens)
    return tokens + (steps[:1] if only_first else steps)


def _compare(measured: Sequence[dict[str, Any]]) -> None:
    """Say how many times as long as ours others take for the same tokens or steps."""
    ours = {(one["part"], one["first"], one["stop"]): one for one in measured}
    for one in measured:
        mine = ours.get((COMPARED.get(one["part"], ""), one["first"], one["stop"]))
        if mine is not None:
            for name in ("first_preview", "seconds"):
                if name in one:
                    one[name]["times_ours"] = one[name]["median"] / mine[name]["median"]


def measured_limits(case: Case, start: Mapping[str, Any], device: torch.device, effort: Effort) -> Hardware:
    """Measure in short what the hardware gives just now to a case, by the best ways of the ``start``."""
    budget = effort.floor_budget / 4
    found = best(read_bandwidth(device, budget, effort.floor_bytes, [best_name(start["bandwidth"])]))
    rows, inner, outer = map(int, best_name(start["rates"][case.dtype]).split(" x "))
    rates = matrix_rates(device, getattr(torch, case.dtype), budget, [(rows, inner, outer)])
    return Hardware(found, {case.dtype: best(rates)})
