"""``dar evaluate reconstruction``."""

from typing import TYPE_CHECKING, Annotated

import typer

from dar.cli import checks, options
from dar.cli.evaluate import shared
from dar.cli.option_groups import grouped
from dar.cli.sampling import describe, setting_options
from dar.generation.settings import DENOISING, GivenSettings

if TYPE_CHECKING:
    from dar.evaluate.run import EvaluationResult


@grouped
@setting_options(DENOISING)
def reconstruction(
    *,
    data: shared.DataOptions,
    out: shared.Out,
    model: shared.Model = None,
    extractor: Annotated[
        str | None, typer.Option(help=f"For rFID, which is left out without it: {shared.EXTRACTORS}")
    ] = None,
    lpips: Annotated[
        str | None,
        typer.Option(help="Folder with LPIPS's weights, or 'download'; without it LPIPS is left out."),
    ] = None,
    num: Annotated[int | None, typer.Option(min=2, help="Images, from all over the data; all by default.")] = None,
    seed: options.Seed = 0,
    given: GivenSettings,
    compute: shared.ModelComputeOptions,
) -> None:
    """Measure a tokenizer by the number of groups decoded: rFID, PSNR, SSIM, LPIPS, codebook usage and perplexity.

    MODEL may be a whole model or a tokenizer alone.

    Example: dar evaluate reconstruction --data photos/ --extractor inception --out report/
    """
    checks.tokenizer(model)
    checks.data(data.data)
    checks.extractors(extractor)

    def evaluation() -> "EvaluationResult":
        from dar.evaluate.reconstruction import evaluate_reconstruction
        from dar.features.loading import load_extractor
        from dar.features.perceptual import load_perceptual_distance
        from dar.generation.settings import load_settings
        from dar.model_folder import model_folder
        from dar.pipeline import load_tokenizer

        settings = load_settings(model_folder(model)).replaced(given)
        weights = "" if lpips == "download" else lpips
        return evaluate_reconstruction(
            load_tokenizer(model, device=compute.device, dtype=compute.dtype),
            data.open(),
            model_info=describe(model),
            extractor=None if extractor is None else load_extractor(extractor, compute.device),
            perceptual=None if weights is None else load_perceptual_distance(weights, "--lpips").to(compute.device),
            count=num,
            seed=seed,
            steps=settings.steps,
            solver=settings.solver,
            batch_size=compute.batch_size,
            workers=compute.workers,
        )

    shared.report_in(out, evaluation, after_interrupt=shared.STARTS_ANEW)
