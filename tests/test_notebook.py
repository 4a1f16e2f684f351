"""The notebook of the examples runs as it is, and shows what it says."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

NOTEBOOK = Path(__file__).parents[1] / "examples" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """What each cell shows, once all have been run in a folder that is not the checkout."""
    home = tmp_path_factory.mktemp("home")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(home))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(home))
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(home)}}).execute()
    return [cell.outputs for cell in notebook.cells]


def pictures(shown: list[Any]) -> list[Image.Image]:
    encoded = [output.data["image/png"] for output in shown if "image/png" in output.get("data", {})]
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in encoded]


def test_its_five_cells_show_model_sheets_and_layout(outputs: list[list[Any]]) -> None:
    install, load, generate, _, layout = outputs
    assert all("ipywidgets" in output.text for output in install)  # tqdm misses it where it is not installed
    assert "the bundled model cifar10" in load[0].data["text/html"]
    (sheet,) = pictures(generate)
    assert sheet.width > 4 * 128  # a row a class
    assert sheet.height > 2 * 128
    assert re.match(r"Generation of 8 images of 32 x 32 pixels", generate[0].data["text/plain"])
    assert [picture.width > 3 * 128 for picture in pictures(layout)] == [False, True]
    assert {output.output_type for shown in outputs[1:] for output in shown} == {"execute_result", "display_data"}


def test_streaming_updates_one_picture_in_place(outputs: list[list[Any]]) -> None:
    (picture,) = pictures(outputs[3])  # the last preview, where the first one was
    assert picture.width > 4 * 128
    (shown,) = outputs[3]
    assert re.match(r"Preview after step (\d+) of \1:", shown.data["text/plain"])


def test_it_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert len(notebook.cells) == 5
    assert not any(cell.outputs or cell.execution_count for cell in notebook.cells)
