"""What the documentation repeats from the code is still so."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_name_tables_are_those_that_conversion_uses() -> None:
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    script = runpy.run_path(str(ROOT / "scripts" / "name_table.py"))
    assert script["filled"](page) == page
    for name in ("encoder_layers.{i}.attention.q.*", "layers.{i}.attention.wqkv.weight"):
        assert f"| `{name}` |" in page
