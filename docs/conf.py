"""Sphinx builds the site from these pages and the package's docstrings: `make docs`."""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # documentation needs no network

project = "D-AR"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.apidoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "D-AR"
exclude_patterns = ["images", "api/modules.rst"]

root = Path(__file__).parents[1]
apidoc_modules = [
    {
        "path": str(root / "src" / "dar"),
        "destination": "api",
        "separate_modules": True,
        "module_first": True,
        "exclude_patterns": [str(root / "src" / "dar" / name) for name in ("cli", "__main__.py")],  # see `dar --help`
    }
]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "ignore-module-all": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]


def link_cards_as_files(app: Sphinx, page: str, source: list[str]) -> None:
    """Let links to pages outside this folder, as models' cards are, lead to copies of the files."""
    source[0] = re.sub(r"\]\((\.\./[^)]+\.md)\)", r"](path:\1)", source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", link_cards_as_files)
