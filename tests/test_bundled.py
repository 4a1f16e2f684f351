"""The model that the package brings along."""

from pathlib import Path

import pytest
import torch

from dar import DARPipeline
from dar.files import read_json
from dar.images import to_pixels
from dar.model_folder import FIGURES, RECIPE, model_folder
from dar.train.recipe import load_recipe

FOLDER = model_folder(None)


@pytest.fixture(scope="module")
def bundled() -> DARPipeline:
    return DARPipeline.from_pretrained()


def test_weights_are_small_and_the_card_holds_figures() -> None:
    assert sum(file.stat().st_size for file in FOLDER.rglob("*.safetensors")) <= 22e6
    figures = read_json(FOLDER / FIGURES)
    assert figures["images"] >= 500
    card = (FOLDER / "README.md").read_text()
    assert f"| {figures['psnr_db_by_groups'][-1]:.2f} |" in card
    assert f"{figures['cross_entropy_nats']:.3f}" in card


def test_its_recipe_has_its_sizes(bundled: DARPipeline) -> None:
    recipe = load_recipe(FOLDER / RECIPE)
    assert recipe.tokenizer == bundled.tokenizer.config
    assert recipe.prior_config(bundled.prior.config.class_names) == bundled.prior.config


def test_it_draws_classes_apart(bundled: DARPipeline) -> None:
    """Ships lie on something blue more than frogs do."""
    count = 16
    pixels = to_pixels(bundled(["ship"] * count + ["frog"] * count, guidance_scale=(1.0, 3.0)).images)
    blueness = (pixels[:, 2] - pixels[:, 0]).mean((1, 2))
    assert blueness[:count].mean() > blueness[count:].mean() + 0.05


def test_previews_converge_on_the_final_image(bundled: DARPipeline) -> None:
    previews = [preview.pixels for preview in bundled.stream(["horse"] * 4)]
    distances = [(preview - previews[-1]).square().mean().item() for preview in previews]
    assert len(previews) == bundled.tokenizer.config.num_steps
    assert distances[-2] < distances[len(distances) // 2] < distances[0]
    assert distances[-2] < distances[0] / 2


def test_tokens_are_diverse_and_layout_tokens_stay(bundled: DARPipeline, tmp_path: Path) -> None:
    out = bundled(["truck"] * 8)
    assert len(out.tokens.unique()) > 100
    out.images[0].save(tmp_path / "layout.png")
    kept = bundled(["ship", "cat"], layout=tmp_path / "layout.png", layout_tokens=16).tokens
    assert torch.equal(kept[0, :16], kept[1, :16])
    assert not torch.equal(kept[0, 16:], kept[1, 16:])
