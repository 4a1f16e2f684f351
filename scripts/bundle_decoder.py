"""Put a decoder that was trained on into the package: tokens stay what they are, and so does the prior.

    python scripts/bundle_decoder.py --run runs/decoder --hardware "two cores of ..."

Then scripts/model_card.py and scripts/figures.py.
"""

import platform
import shutil
from pathlib import Path
from typing import Annotated

import torch
import typer

from dar import DARPipeline
from dar.files import read_json, write_json
from dar.model_folder import BUNDLED, RECIPE, TOKENIZER
from dar.pipeline import load_tokenizer
from dar.storage import weights_hash
from dar.train.run_folder import RunFolder


def main(
    run: Annotated[
        Path, typer.Option(help="Run folder of dar train tokenizer, with tokenizer_training.train=decoder.")
    ],
    hardware: Annotated[str, typer.Option(help="What the training ran on.")],
    out: Annotated[Path, typer.Option(help="Folder in the package.")] = Path("src/dar/models") / BUNDLED,
) -> None:
    """Replace the tokenizer of the bundled model, its recipe, and what its training took."""
    trained, bundled = RunFolder(run), DARPipeline.from_pretrained(out)
    tokenizer = load_tokenizer(trained.model)
    for part in ("encoder", "quantizer"):
        if weights_hash(getattr(tokenizer, part)) != weights_hash(getattr(bundled.tokenizer, part)):
            typer.echo(f"the {part} is another one: the bundled prior does not know its tokens", err=True)
            raise typer.Exit(2)
    tokenizer.to(torch.float16).save_pretrained(out / TOKENIZER)
    (out / TOKENIZER / "README.md").unlink()  # the model has one card
    shutil.copyfile(trained.recipe, out / RECIPE)
    facts = {**trained.progress(), "hardware": hardware, "torch": torch.__version__}
    write_json(
        out / "training.json",
        read_json(out / "training.json") | {"decoder": facts | {"python": platform.python_version()}},
    )


if __name__ == "__main__":
    typer.run(main)
