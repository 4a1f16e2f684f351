"""The baselines learn of the images and classes that they are given, and draw what they are asked for."""

from dataclasses import replace

import pytest
import torch

from benchmarks.baselines.pixel_flow import PixelFlow, PixelFlowTask
from benchmarks.baselines.raster import RasterTokenizer, raster_samples, raster_tokens
from benchmarks.contenders import RECIPE
from dar.data import MicroBatches
from dar.data.in_memory import DecodedImages
from dar.images import to_uint8
from dar.prior import Prior
from dar.train.distributed import Distributed
from dar.train.recipe import Recipe, load_recipe
from tests import tiny

CLASSES = 3
COUNT = 12


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    recipe = load_recipe(RECIPE)
    return replace(recipe, tokenizer_training=replace(recipe.tokenizer_training, batch_size=4))


@pytest.fixture(scope="module")
def data() -> DecodedImages:
    """Image i is of the one level i, and of class i mod 3."""
    images_uint8 = torch.arange(COUNT, dtype=torch.uint8)
    return DecodedImages(
        images_uint8[:, None, None, None].expand(-1, 3, 32, 32).contiguous(), images_uint8.long() % CLASSES
    )


def randomised_flow(recipe: Recipe) -> PixelFlow:
    return tiny.randomise(PixelFlow(recipe.tokenizer, CLASSES), 1).eval()


def test_the_flow_is_told_the_class_of_each_image(recipe: Recipe, data: DecodedImages) -> None:
    task = PixelFlowTask(recipe, data, CLASSES, Distributed())
    seen = []
    for batch in task.batches(0, COUNT // 4, MicroBatches()):
        images_uint8 = to_uint8(batch.pixels)[:, 0, 0, 0].long()
        assert torch.equal(images_uint8 % CLASSES, batch.labels)
        seen += images_uint8.tolist()
    assert sorted(seen) == list(range(COUNT))


def test_pieces_of_two_processes_are_the_whole_batch(recipe: Recipe, data: DecodedImages) -> None:
    task = PixelFlowTask(recipe, data, CLASSES, Distributed())
    (whole,) = task.batches(1, 2, MicroBatches())
    parts = [next(task.batches(1, 2, MicroBatches(index, 2, 1))) for index in range(2)]
    assert torch.equal(torch.cat([part.pixels for part in parts]), whole.pixels)
    assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)


@torch.no_grad()
def test_guidance_of_the_flow_goes_from_no_class_to_the_class_and_beyond(recipe: Recipe) -> None:
    flow, labels = randomised_flow(recipe), torch.tensor([0, 2])
    x, t = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.full((2,), 0.5)
    own, none = flow(x, t, labels), flow(x, t, torch.full((2,), CLASSES))
    assert (own - none).abs().max() > 1e-3
    for scale in (0.0, 1.0, 2.5):
        torch.testing.assert_close(flow._guided(x, 0.5, labels, scale), none + scale * (own - none), rtol=0, atol=1e-4)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_seed_gives_the_same_flow_image_alone_and_among_others(recipe: Recipe, guidance: float) -> None:
    flow, labels = randomised_flow(recipe), torch.tensor([0, 1, 2])
    together = flow.samples(labels, guidance, 5)
    alone = torch.cat([flow.samples(labels[i : i + 1], guidance, 5 + i) for i in range(3)])
    assert (together.int() - alone.int()).abs().max() <= 1
    assert not torch.equal(together[0], flow.samples(labels[:1], guidance, 6)[0])


def test_raster_tokens_are_those_of_each_image_and_its_mirror_image(recipe: Recipe, data: DecodedImages) -> None:
    tokenizer = tiny.randomise(RasterTokenizer(recipe.tokenizer), 2).eval()
    images = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    found = raster_tokens(tokenizer, DecodedImages(images, data.labels[:5]), flip=True)
    assert (found.views, len(found)) == (2, 5)
    assert torch.equal(found.labels.long(), data.labels[:5])
    rows = torch.arange(5)
    for view, seen in enumerate((images, images.flip(-1))):
        with torch.no_grad():
            expected = tokenizer.encode(seen.float() / 127.5 - 1)
        assert torch.equal(found.rows(rows, torch.full((5,), view)), expected)


def test_a_seed_gives_the_same_raster_image_alone_and_among_others(recipe: Recipe) -> None:
    tokenizer = tiny.randomise(RasterTokenizer(recipe.tokenizer), 2).eval()
    prior, labels = tiny.randomise(Prior(recipe.prior_config(("a", "b", "c"))), 3).eval(), torch.tensor([0, 1, 2])
    together = raster_samples(tokenizer, prior, labels, (1.0, 3.0), 5)
    alone = torch.cat([raster_samples(tokenizer, prior, labels[i : i + 1], (1.0, 3.0), 5 + i) for i in range(3)])
    assert (together.int() - alone.int()).abs().max() <= 1
    assert not torch.equal(together, raster_samples(tokenizer, prior, labels, (5.0, 5.0), 5))
