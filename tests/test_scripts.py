"""Scripts and benchmarks are run by hand, seldom, so that a name that they import may be gone unnoticed."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "file", sorted([*ROOT.glob("scripts/*.py"), *ROOT.glob("benchmarks/**/*.py")]), ids=lambda file: file.stem
)
def test_it_finds_all_that_it_imports(file: Path) -> None:
    runpy.run_path(str(file), run_name=f"imported.{file.stem}")  # one of them is __main__.py
