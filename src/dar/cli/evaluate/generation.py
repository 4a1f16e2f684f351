"""``dar evaluate generation``."""

from typing import TYPE_CHECKING

from dar.cli import checks, options
from dar.cli.evaluate import shared
from dar.cli.option_groups import SampleOptions, grouped
from dar.cli.sampling import describe, print_settings, setting_options
from dar.generation.settings import GivenSettings

if TYPE_CHECKING:
    from dar.evaluate.run import EvaluationResult


@grouped
@setting_options()
def generation(
    *,
    spaces: shared.SpaceOptions,
    out: shared.Out,
    model: shared.Model = None,
    num: options.Num = 50_000,
    sampled: SampleOptions,
    given: GivenSettings,
    compute: shared.ModelComputeOptions,
) -> None:
    """Sample a model and compare the images with real ones: dar sample and dar evaluate samples in one.

    The samples stay in OUT/samples.npz. Stop it whenever you like: the same command goes on where it was. To sample by
    several processes, run dar sample --out OUT/samples.npz with the same settings under torchrun first.

    Example: dar evaluate generation --reference cifar10 --extractor cifar10 --num 5000 --out report/
    """
    checks.model(model)
    spaces.check()

    def evaluation() -> "EvaluationResult":
        from dar.evaluate.feature_store import FEATURES
        from dar.evaluate.generation import evaluate_samples
        from dar.files import read_json
        from dar.pipeline import DARPipeline
        from dar.samples.job import sample
        from dar.samples.opening import open_samples

        pipe = DARPipeline.from_pretrained(model, device=compute.device, dtype=compute.dtype)
        settings = sampled.settings(pipe, given, num)
        print_settings(pipe, given)
        opened = spaces.open(pipe.tokenizer.config.image_size, num, compute)
        file, described, class_names = out / "samples.npz", describe(model), pipe.prior.config.class_names
        sample(pipe, settings, file, described={**described, "class_names": list(class_names)})
        return evaluate_samples(
            open_samples(file),
            opened,
            out / FEATURES,
            model_info={**described, "settings": read_json(file.with_suffix(".json"))["settings"]},
            class_names=class_names,
            batch_size=compute.batch_size,
        )

    shared.report_in(out, evaluation)
