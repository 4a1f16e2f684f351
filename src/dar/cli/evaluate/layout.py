"""``dar evaluate layout``."""

from typing import TYPE_CHECKING, Annotated

import typer

from dar.cli import checks, options
from dar.cli.evaluate import shared
from dar.cli.option_groups import grouped
from dar.cli.sampling import describe, print_settings, setting_options
from dar.generation.settings import GivenSettings

if TYPE_CHECKING:
    from dar.evaluate.run import EvaluationResult

PREFIXES = (8, 12, 16, 32)


@grouped
@setting_options()
def layout(
    *,
    data: shared.DataOptions,
    out: shared.Out,
    model: shared.Model = None,
    classifier: Annotated[
        str, typer.Option(help="cifar10 (of this package), a folder of dar train classifier, or one of transformers.")
    ] = "cifar10",
    tokens: Annotated[
        list[int] | None,
        typer.Option(help="Tokens of the reference to keep; repeat it for each point. By default 8, 12, 16 and 32."),
    ] = None,
    num: Annotated[int, typer.Option(min=2, help="Reference images, from all over the data.")] = 1000,
    seed: options.Seed = 0,
    given: GivenSettings,
    compute: shared.ModelComputeOptions,
) -> None:
    """Keep the first tokens of pictures under another class: similarity of layout against agreement with the class.

    Example: dar evaluate layout --data photos/ --classifier microsoft/resnet-50 --tokens 8 --tokens 32 --out report/
    """
    checks.model(model)
    checks.data(data.data)
    checks.extractors(classifier)

    def evaluation() -> "EvaluationResult":
        from dar.evaluate.layout import evaluate_layout
        from dar.features.loading import load_extractor
        from dar.pipeline import DARPipeline

        pipe = DARPipeline.from_pretrained(model, device=compute.device, dtype=compute.dtype)
        print_settings(pipe, given)
        return evaluate_layout(
            pipe,
            data.open(),
            load_extractor(classifier, compute.device),
            prefixes=tokens or PREFIXES,
            settings=given,
            model_info=describe(model),
            count=num,
            seed=seed,
            batch_size=compute.batch_size,
            workers=compute.workers,
        )

    shared.report_in(out, evaluation, after_interrupt=shared.STARTS_ANEW)
