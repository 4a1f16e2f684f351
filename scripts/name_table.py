"""Write the name tables of docs/formats.md from the rules that conversion uses: ``python scripts/name_table.py``."""

import re
from collections.abc import Sequence
from pathlib import Path

from dar.convert.names import Rule, prior_rules, tokenizer_rules
from dar.files import writing
from dar.prior import PriorConfig
from dar.tokenizer import TokenizerConfig

PAGE = Path(__file__).parents[1] / "docs" / "formats.md"
ONE_LAYER_EACH = TokenizerConfig(encoder_depth=1, latent_decoder_depth=1, decoder_depth=1)


def table(rules: Sequence[Rule]) -> str:
    """A row for each tensor of the first layers; ``{i}`` stands for the layer, ``*`` for weight and bias."""
    rows: list[tuple[str, str, str]] = []
    for rule in rules:
        row = (_shown(rule.published), _shown(rule.ours), rule.note)
        pair = tuple(text.replace(".bias`", ".weight`") for text in row)
        if pair != row and rows and pair == rows[-1]:
            rows[-1] = (row[0].replace(".bias`", ".*`"), row[1].replace(".bias`", ".*`"), rule.note)
        else:
            rows.append(row)
    return "\n".join(["| published | ours | how |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


def _shown(names: Sequence[str]) -> str:
    layered = (re.sub(r"(layers|blocks)\.0\.", r"\1.{i}.", name) for name in names)
    return ", ".join(f"`{name}`" for name in layered)


def filled(page: str) -> str:
    """The page with both tables renewed."""
    tables = {
        "tokenizer": table(tokenizer_rules(ONE_LAYER_EACH)),
        "prior": table(prior_rules(PriorConfig(class_names=("any",), depth=1))),
    }
    for name, text in tables.items():
        between = rf"(<!-- {name} names -->\n).*?(<!-- end -->)"
        page = re.sub(between, lambda match, text=text: f"{match[1]}{text}\n{match[2]}", page, flags=re.DOTALL)  # type: ignore[misc]
    return page


if __name__ == "__main__":
    renewed = filled(PAGE.read_text(encoding="utf-8"))
    with writing(PAGE) as aside:
        aside.write_text(renewed, encoding="utf-8")
