import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dar.convert.llama import export_llama
from dar.generation.settings import GenerationSettings, save_settings
from dar.images import to_images
from dar.pipeline import DARPipeline, load_prior
from tests.on_sheets import positions

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_plain_transformers_draws_a_picture(tmp_path: Path) -> None:
    export_llama(load_prior(), tmp_path / "llama")
    out = tmp_path / "ships.png"
    program = [sys.executable, EXAMPLES / "plain_transformers.py", tmp_path / "llama", "--out", out]
    subprocess.run([*program, "--class-index", "8", "--num", "2"], check=True, capture_output=True)
    with Image.open(out) as picture:
        assert picture.width > picture.height
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 500


@pytest.mark.parametrize(
    ("own", "drawn"),
    [
        (
            GenerationSettings(guidance_scale=(1.0, 5.0), temperature=0.9, top_k=7, solver="euler", steps=3),
            {"guidance_scale": 3.0, "do_sample": True, "temperature": 0.9, "top_k": 7, "top_p": 1.0},
        ),
        (
            GenerationSettings(guidance_scale=(2.0, 2.0), temperature=0.0),
            {"guidance_scale": 2.0, "do_sample": False},
        ),
    ],
)
def test_plain_transformers_samples_as_the_model_says(
    pipeline: DARPipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own: GenerationSettings,
    drawn: dict[str, Any],
) -> None:
    pipeline.save_pretrained(tmp_path / "model")
    save_settings(tmp_path / "model", own)
    tokens = torch.arange(8)[None]
    asked: dict[str, Any] = {}

    def generate(folder: Path, class_index: int, num: int, seed: int, **drawing: Any) -> torch.Tensor:
        asked.update(drawing)
        return tokens

    spec = importlib.util.spec_from_file_location("plain_transformers", EXAMPLES / "plain_transformers.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.setattr(example, "generate", generate)
    example.main(tmp_path, tmp_path / "out.png", tokenizer=str(tmp_path / "model"), num=1, seed=4)
    assert asked == drawn
    decoded = to_images(pipeline.tokenizer.decode(tokens, seed=4, steps=own.steps, solver=own.solver))[0]
    with Image.open(tmp_path / "out.png") as sheet:
        assert len(positions(sheet.convert("RGB"), decoded)) == 1
