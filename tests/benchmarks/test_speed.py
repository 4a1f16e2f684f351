"""The speed benchmark on a tiny model: what it writes fits together, and it counts what is there."""

import contextlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache, StaticCache
from typer import Typer
from typer.testing import CliRunner

import benchmarks.__main__ as command
from benchmarks import speed_cases
from benchmarks.floors import prior_weights, step_works, token_works
from benchmarks.speed import CannotMeasure, Effort, naive_calls, plan
from benchmarks.speed_cases import (
    BUNDLED,
    CALLED,
    DECODED,
    DRAWN,
    DYNAMIC,
    NAIVE,
    STATIC,
    STREAMED,
    Case,
    all_cases,
    chosen,
    model_cases,
    quick_cases,
)
from benchmarks.speed_compare import ROOT, OtherCommit, serve
from benchmarks.speed_parts import Workbench
from dar.errors import DARError
from dar.packed_linear import Linear
from dar.pipeline import DARPipeline
from dar.prior import Prior
from dar.solvers import DEFAULT_SOLVER
from tests import tiny

CPU = torch.device("cpu")
EFFORT = Effort(
    budget=0.02, fewest=2, most=3, longest=60, floor_budget=0.001, floor_bytes=2**20, shapes=((64, 64, 64), (8, 64, 32))
)
N = tiny.PRIOR.num_tokens


def case(model: Path, batch: int = 2, guided: bool = True, dtype: str = "float32", **changed: Any) -> Case:
    parts = (DRAWN, DYNAMIC, STATIC, STREAMED, CALLED, NAIVE, DECODED)
    return replace(Case(str(model), batch, guided, dtype, parts), **changed)


@pytest.fixture
def bench(model: Path) -> Workbench:
    bench = Workbench(CPU)
    bench.prepare(case(model))
    return bench


def weights_read(prior: Prior) -> int:
    """Bytes of the tensors that each token needs."""
    llama, codes = prior.llama, prior.config.codebook_size
    needed = [*llama.model.layers.parameters(), *llama.model.norm.parameters(), llama.lm_head.weight[:codes]]
    return sum(one.nbytes for one in needed)


def check_figures(one: dict[str, Any], name: str) -> None:
    figures = one[name]
    assert figures["min"] <= figures["median"] <= figures["max"]
    assert EFFORT.fewest <= len(figures["runs"]) <= EFFORT.most
    least = figures["floor"]
    assert figures["reached"] == least["seconds"] / figures["median"]
    assert max(least["reading"], least["computing"]) <= least["seconds"] <= least["reading"] + least["computing"]


def test_all_is_measured_and_written(model: Path, pipeline: DARPipeline, tmp_path: Path) -> None:
    cases = [
        case(model),
        case(model, 1, False, "bfloat16"),
        *(one for one in speed_cases.sweep_cases(str(model)) if one.value == 16),
    ]
    results = command.measure(cases, tmp_path, CPU, EFFORT)
    assert json.loads((tmp_path / "speed.json").read_text()) == json.loads(json.dumps(results))
    assert {"time", "versions", "hardware", "processor", "device", "threading"} <= results.keys()
    assert results["processor"]["threads"] == torch.get_num_threads()
    assert set(results["floor"]["rates"]) == {"float32", "bfloat16", "float16"}
    assert [one["name"] for one in results["cases"]] == [one.name for one in cases]
    table = (tmp_path / "speed.md").read_text()
    for found in results["cases"]:
        assert found["not_measured"] == {}
        for one in found["measured"]:
            check_figures(one, "seconds")
            assert f"| {found['name']} | {one['part']} |" in table
            if one["part"] in (STREAMED, NAIVE):
                check_figures(one, "first_preview")
                assert one["first_preview"]["max"] <= one["seconds"]["max"]
    assert (tmp_path / "speed.png").stat().st_size > 1000


@pytest.mark.parametrize(("guided", "rows"), [(True, 4), (False, 2)])
def test_floors_and_ratios_are_those_of_the_weights(
    model: Path, pipeline: DARPipeline, tmp_path: Path, guided: bool, rows: int
) -> None:
    (found,) = command.measure([case(model, guided=guided)], tmp_path, CPU, EFFORT)["cases"]
    of = {one["part"]: one for one in found["measured"]}
    cached = sum(2 * rows * i * tiny.PRIOR.depth * tiny.PRIOR.width * 4 for i in range(N))
    least = of[DRAWN]["seconds"]["floor"]
    assert least["bytes"] == N * weights_read(pipeline.prior) + cached
    assert least["reading"] == pytest.approx(least["bytes"] / found["bandwidth"])
    assert least["computing"] == pytest.approx(least["operations"] / found["rate"])
    assert of[DRAWN]["seconds"]["each"] == of[DRAWN]["seconds"]["median"] / N
    both = sum(of[part]["seconds"]["floor"]["seconds"] for part in (DRAWN, DECODED))
    assert of[STREAMED]["seconds"]["floor"]["seconds"] == pytest.approx(both)
    first = of[STREAMED]["first_preview"]["floor"]["bytes"]
    assert 2 * weights_read(pipeline.prior) < first < least["bytes"]  # of four groups of two tokens
    for part, ours in ((DYNAMIC, DRAWN), (STATIC, DRAWN), (NAIVE, STREAMED)):
        ratio = of[part]["seconds"]["median"] / of[ours]["seconds"]["median"]
        assert of[part]["seconds"]["times_ours"] == ratio


def test_only_parts_of_long_runs_are_measured_and_it_is_said(bench: Workbench, model: Path, tmp_path: Path) -> None:
    short = replace(EFFORT, longest=1e-6)
    measures, left_out = plan(bench, case(model), short)
    spans = {part: [one.span for one in measures if one.part == part] for part in (DRAWN, DYNAMIC, STATIC, DECODED)}
    assert spans == {DRAWN: [(1, 4), (5, 8)], DYNAMIC: [(1, 4), (5, 8)], STATIC: [(1, 4), (5, 8)], DECODED: [(0, 1)]}
    assert set(left_out) == {STREAMED, CALLED, NAIVE}
    results = command.measure([case(model)], tmp_path, CPU, short)
    measured = results["cases"][0]["measured"]
    assert all("times_ours" in one["seconds"] for one in measured if one["part"] in (DYNAMIC, STATIC))
    table = (tmp_path / "speed.md").read_text()
    for text in ("tokens 2 to 4 of 8", "tokens 6 to 8 of 8", "1 of 4 steps", f"{NAIVE}: a run would take"):
        assert text in table


def test_weights_and_operations_are_those_of_the_models(pipeline: DARPipeline) -> None:
    assert 4 * prior_weights(tiny.PRIOR) == weights_read(pipeline.prior)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        pipeline.prior.llama(torch.zeros(3, N, dtype=torch.int64), use_cache=False)
    (work,) = token_works(tiny.PRIOR, rows=3, bytes_each=4, first=N - 1, stop=N)
    logits_of_classes = 2 * 3 * tiny.PRIOR.width * (tiny.PRIOR.vocab_size - tiny.PRIOR.codebook_size)
    attention = 4 * 3 * N * tiny.PRIOR.depth * tiny.PRIOR.width  # of the last token; there, all N see all N
    assert counter.get_total_flops() == N * (work.operations + logits_of_classes)
    assert work.operations > attention


def test_steps_cost_what_they_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Linear, "packs", lambda *_: False)  # the counter does not know packed products
    tokenizer, config = tiny.tokenizer(), tiny.TOKENIZER
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        tokenizer.decode(tiny.tokens(3), noise=tiny.noise(3))
    works = step_works(config, 3, 4, config.num_steps)
    assert sum(work.operations for work in works) == pytest.approx(counter.get_total_flops(), rel=0.02)
    named = [*tokenizer.diffusion_decoder.named_parameters(), *tokenizer.latent_decoder.blocks.named_parameters()]
    matrices = sum(one.nbytes for name, one in named if one.dim() == 2 and ".time." not in name)
    assert works[0].bytes == matrices


def test_prefixes_are_seen_but_not_computed_again() -> None:
    prefix = replace(tiny.TOKENIZER, decoder_context="prefix", final_steps=3, num_steps=6)
    works = [step_works(config, 1, 4, 6) for config in (prefix, replace(prefix, decoder_context="group"))]
    assert [one.operations for one in works[0]] == sorted(one.operations for one in works[0][:4]) + [
        works[0][4].operations
    ] * 2
    assert works[0][4].operations < works[0][3].operations
    assert all(mine.operations >= other.operations for mine, other in zip(*works, strict=True))
    assert works[0][4].bytes < works[0][3].bytes


def test_naive_streaming_decodes_all_groups_again(bench: Workbench) -> None:
    calls = []
    hook = bench.pipe.tokenizer.diffusion_decoder.out.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        images = list(bench.naive_previews())
        hook.remove()
        tokens = torch.stack(list(bench.columns(bench.prefix((0, N)))), dim=1)
    assert len(images) == 4
    assert len(calls) == naive_calls(tiny.TOKENIZER, 4) == 1 + 2 + 3 + 4
    expected = bench.pipe.tokenizer.decode(tokens, noise=bench.noise, steps=4, solver=DEFAULT_SOLVER)
    torch.testing.assert_close(images[-1], expected, rtol=0, atol=1e-4)
    assert naive_calls(replace(tiny.TOKENIZER, num_tokens=256, num_groups=8), 8) == 36


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("first", [0, 5])
def test_transformers_goes_on_with_the_tokens_that_we_do(
    bench: Workbench, model: Path, guided: bool, first: int
) -> None:
    bench.prepare(case(model, guided=guided))
    bench.settings = replace(bench.settings, temperature=0.0)
    span = (first, N)
    with torch.no_grad():
        ours = torch.stack(list(bench.columns(bench.prefix(span))), dim=1)
        config = bench.pipe.prior.llama.config
        for cache in (DynamicCache(config=config), StaticCache(config=config, max_cache_len=N)):
            assert torch.equal(bench.generated(span, cache)[:, 1:], ours)


def test_another_source_does_what_it_is_told_and_says_what_it_cannot(model: Path) -> None:
    told = [{"prepare": vars(case(model))}, {"run": [DRAWN, [0, N]]}, {"run": ["painting", [0, N]]}, {"source": None}]
    requests = io.StringIO("".join(json.dumps(one) + "\n" for one in told))
    replies = io.StringIO()
    serve(requests, replies, Workbench(CPU))
    replies.seek(0)
    asked = io.StringIO()
    other = OtherCommit(SimpleNamespace(stdin=asked, stdout=replies))  # type: ignore[arg-type]
    other.prepare(case(model))
    assert other.run(DRAWN, (0, N))["seconds"] > 0
    with pytest.raises(CannotMeasure, match="painting"):
        other.run("painting", (0, N))
    assert other.source().endswith("dar")
    with pytest.raises(CannotMeasure, match="has ended"):
        other.run(DRAWN, (0, N))
    assert asked.getvalue().startswith(requests.getvalue())


class Twice:
    """Another side that takes twice as long, and can't decode."""

    def __init__(self) -> None:
        self.bench = Workbench(CPU)

    def prepare(self, of: Case) -> None:
        self.bench.prepare(of)

    def run(self, part: str, span: tuple[int, int]) -> dict[str, float]:
        if part == DECODED:
            raise CannotMeasure("no decoder")
        return {name: 2 * value for name, value in self.bench.run(part, span).items()}


def test_both_sides_are_told_with_their_ratio(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "other_commit", lambda *_: contextlib.nullcontext(Twice()))
    (found,) = command.measure([case(model)], tmp_path, CPU, EFFORT, "HEAD")["cases"]
    of = {one["part"]: one for one in found["measured"]}
    for part in (DRAWN, STREAMED, CALLED):
        one = of[part]["seconds"]
        assert len(one["there"]["runs"]) == len(one["runs"])
        assert one["of_there"] == one["median"] / one["there"]["median"]
    assert of[DECODED]["not_measured_there"] == "no decoder"
    assert "there" not in of[DECODED]["seconds"]
    assert "there" not in of[DYNAMIC]["seconds"]
    assert "no decoder" in (tmp_path / "speed.md").read_text()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="no checkout")
def test_another_commit_runs_in_its_own_process(model: Path, tmp_path: Path) -> None:
    (found,) = command.measure([case(model)], tmp_path, CPU, EFFORT, "HEAD")["cases"]
    assert all("there" in one["seconds"] for one in found["measured"] if one["part"] in (DRAWN, DECODED, STREAMED))
    with pytest.raises(DARError, match="no-such-commit"):
        command.measure([case(model)], tmp_path, CPU, EFFORT, "no-such-commit")


def test_cases_are_chosen_by_model_and_by_name() -> None:
    cases = all_cases()
    assert len({one.name for one in cases}) == len(cases)
    assert chosen(cases, []) == cases
    assert chosen(cases, ["L"]) == [one for one in cases if one.model == "L"]
    assert len(chosen(cases, ["L"])) == 18
    both = [f"{size}-1-guided-bfloat16" for size in ("L", "XL")]
    assert [one.name for one in chosen(cases, ["*L-1-guided-bfloat16"])] == both
    assert [one.value for one in chosen(cases, ["sweep-pixels-*"])] == [16, 32, 64, 128]
    assert chosen(cases, ["v1", "bundled"])[0].model == BUNDLED
    assert set(quick_cases(BUNDLED)) < set(model_cases(BUNDLED))
    with pytest.raises(DARError, match=r"'XXL'.*bundled, v1, B, L, XL"):
        chosen(cases, ["XXL"])


def test_ctrl_c_keeps_the_cases_that_are_measured(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = command.measure_case

    def interrupted(of: Case, *arguments: Any) -> dict[str, Any]:
        if of.batch > 1:
            raise KeyboardInterrupt
        return measured(of, *arguments)

    monkeypatch.setattr(command, "measure_case", interrupted)
    monkeypatch.setattr(command, "QUICK", EFFORT)
    app = Typer()
    app.command()(command.main)
    options = ["--quick", "--model", str(model), "--out", str(tmp_path), "--only", "*-guided-float32"]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 130
    assert "stopped" in result.stderr
    assert [one["batch"] for one in json.loads((tmp_path / "speed.json").read_text())["cases"]] == [1]
    refused = CliRunner().invoke(app, ["--only", "nothing"])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "no case is named 'nothing'" in refused.stderr
