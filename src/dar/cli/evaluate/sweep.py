"""``dar evaluate sweep``."""

from typing import TYPE_CHECKING, Annotated

import typer

from dar.cli import checks, options
from dar.cli.evaluate import shared
from dar.cli.option_groups import SampleOptions, grouped
from dar.cli.sampling import ALL, describe, print_settings, setting_options
from dar.generation.settings import GivenSettings
from dar.prior.guidance import Guidance

if TYPE_CHECKING:
    from dar.evaluate.run import EvaluationResult


@grouped
@setting_options([name for name in ALL if name != "guidance_scale"])
def sweep(
    *,
    spaces: shared.SpaceOptions,
    out: shared.Out,
    model: shared.Model = None,
    guidance: Annotated[
        list[str], typer.Option(help="As of dar generate, such as 3, 1:3 or 3@16-64; repeat it for each point.")
    ],
    num: options.Num = 10_000,
    sampled: SampleOptions,
    given: GivenSettings,
    compute: shared.ModelComputeOptions,
) -> None:
    """Sample with several guidance scales and schedules, and draw fidelity against diversity.

    Stop it whenever you like: the same command goes on where it was.

    Example: dar evaluate sweep --reference cifar10 --extractor cifar10 --guidance 1 --guidance 1:3 --out sweep/
    """
    scales = [Guidance.parse(text) for text in guidance]
    checks.model(model)
    spaces.check()

    def evaluation() -> "EvaluationResult":
        from dar.evaluate.sweep import evaluate_sweep
        from dar.pipeline import DARPipeline

        pipe = DARPipeline.from_pretrained(model, device=compute.device, dtype=compute.dtype)
        settings = sampled.settings(pipe, given, num)
        for scale in scales:
            print_settings(pipe, {**given, "guidance_scale": scale})
        opened = spaces.open(pipe.tokenizer.config.image_size, num, compute)
        model_info = describe(model)
        return evaluate_sweep(pipe, settings, scales, opened, out, model_info=model_info, batch_size=compute.batch_size)

    shared.report_in(out, evaluation)
