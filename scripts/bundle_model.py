"""Put a trained model into the package, in float16, with its recipe and what its training took.

python scripts/bundle_model.py --tokenizer-run runs/tokenizer --prior-run runs/prior
"""

import json
import platform
import shutil
from pathlib import Path
from typing import Annotated

import torch
import typer

from dar import DARPipeline
from dar.cli.sampling import setting_options
from dar.files import write_json
from dar.generation.settings import GivenSettings
from dar.model_folder import BUNDLED, RECIPE
from dar.train.run_folder import RunFolder

LIMIT_MB = 22


@setting_options()
def main(
    tokenizer_run: Annotated[Path, typer.Option(help="Run folder of dar train tokenizer.")],
    prior_run: Annotated[Path, typer.Option(help="Run folder of dar train prior.")],
    hardware: Annotated[str, typer.Option(help="What the training ran on.")],
    remark: Annotated[str, typer.Option(help="In what the training differed from its recipe.")] = "",
    out: Annotated[Path, typer.Option(help="Folder in the package.")] = Path("src/dar/models") / BUNDLED,
    *,
    given: GivenSettings,
) -> None:
    """Convert, copy, and check the size; the options of sampling become the model's own."""
    runs = {"tokenizer": RunFolder(tokenizer_run), "prior": RunFolder(prior_run)}
    pipe = DARPipeline.from_pretrained(runs["prior"].model)
    pipe.settings = pipe.settings.replaced(given)
    pipe.to(torch.float16)
    pipe.save_pretrained(out)
    for part in ("tokenizer", "prior"):
        (out / part / "README.md").unlink()  # the model has one card
    shutil.copyfile(runs["prior"].recipe, out / RECIPE)
    facts = {name: run.progress() for name, run in runs.items()}
    write_json(
        out / "training.json",
        {
            **facts,
            "hardware": hardware,
            "remark": remark,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    )
    size = sum(file.stat().st_size for file in out.rglob("*.safetensors")) / 1e6
    typer.echo(f"{out}: {size:.1f} MB of weights; {json.dumps(facts)}")
    if size > LIMIT_MB:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
