import subprocess
import sys
from pathlib import Path

from PIL import Image

from dar.convert.llama import export_llama
from dar.pipeline import load_prior

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_plain_transformers_draws_a_picture(tmp_path: Path) -> None:
    export_llama(load_prior(), tmp_path / "llama")
    out = tmp_path / "ships.png"
    program = [sys.executable, EXAMPLES / "plain_transformers.py", tmp_path / "llama", "--out", out]
    subprocess.run([*program, "--class-index", "8", "--num", "2"], check=True, capture_output=True)
    with Image.open(out) as picture:
        assert picture.width > picture.height
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 500
