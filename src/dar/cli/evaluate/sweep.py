"""``dar evaluate sweep``."""

from typing import TYPE_CHECKING, Annotated

import typer

from dar.cli import checks, options
from dar.cli.evaluate import shared
from dar.cli.sampling import ALL, describe, setting_options, tell_settings
from dar.generation.settings import GivenSettings
from dar.prior.guidance import Guidance

if TYPE_CHECKING:
    from dar.evaluate.run import EvaluationResult


@setting_options([name for name in ALL if name != "guidance_scale"])
def sweep(
    reference: shared.References,
    guidance: Annotated[
        list[str], typer.Option(help="As of dar generate, such as 3, 1:3 or 3@16-64; repeat it for each point.")
    ],
    out: shared.Out,
    model: shared.Model = None,
    extractor: shared.Extractors = None,
    num: options.Num = 10_000,
    labels: options.Labels = "random",
    seed: options.Seed = 0,
    *,
    given: GivenSettings,
    chunk: options.Chunk = 50,
    rounding: options.Rounding = "adm",
    batch_size: shared.BatchSize = 64,
    workers: shared.Workers = 0,
    image_column: shared.ReferenceColumn = "",
    device: options.Device = "cpu",
) -> None:
    """Sample with several guidance scales and schedules, and draw fidelity against diversity.

    Stop it whenever you like: the same command goes on where it was.

    Example: dar evaluate sweep --reference cifar10 --extractor cifar10 --guidance 1 --guidance 1:3 --out sweep/
    """
    scales = [Guidance.parse(text) for text in guidance]
    checks.model(model)
    checks.extractors(*(extractor or ()))
    checks.references(reference)

    def evaluation() -> "EvaluationResult":
        from dar.evaluate.sweep import evaluate_sweep
        from dar.pipeline import DARPipeline
        from dar.samples.sampling import sample_settings

        pipe = DARPipeline.from_pretrained(model, device=device)
        settings = sample_settings(pipe, given, num=num, labels=labels, seed=seed, chunk=chunk, rounding=rounding)
        for scale in scales:
            tell_settings(pipe, {**given, "guidance_scale": scale})
        size = pipe.tokenizer.config.image_size
        spaces = shared.open_spaces(extractor, reference, size, num, batch_size, workers, device, image_column)
        return evaluate_sweep(pipe, settings, scales, spaces, out, model_info=describe(model), batch_size=batch_size)

    shared.report_in(out, evaluation)
