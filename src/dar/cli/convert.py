"""``dar convert``."""

from pathlib import Path
from typing import Annotated

import typer

from dar.cli import checks, options


def convert(
    out: Annotated[Path, typer.Option(help="Model folder to write, or to add the other half to.")],
    tokenizer: Annotated[Path | None, typer.Option(help="Published tokenizer, such as D-AR-tokenizer_v1.pt.")] = None,
    prior: Annotated[Path | None, typer.Option(help="Published prior, such as D-AR-XL-360K.pt.")] = None,
) -> None:
    """Turn published weights into a model folder; nothing in the files is executed.

    Example: dar convert --tokenizer D-AR-tokenizer_v1.pt --prior D-AR-XL-360K.pt --out model/
    """
    checks.paths("file", tokenizer, prior)
    from dar.convert.published import convert as convert_published

    for folder in convert_published(out, tokenizer, prior):
        options.say(f"wrote {folder}")
