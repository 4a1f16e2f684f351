from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dar.demo.samples import (
    ORIGINALS,
    PER_CLASS,
    Original,
    class_samples,
    layout_samples,
    originals_in,
    reconstruct_originals,
    samples_as_originals,
    spread,
)
from dar.errors import DARError
from dar.generation.settings import GenerationSettings
from dar.images import to_images, to_pixels
from dar.pipeline import DARPipeline
from tests import tiny


def differ_by(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other)).max())


def originals(count: int) -> list[Original]:
    images = to_images(tiny.pixels(count))
    return [Original(f"picture {i}", image, Path(f"{i}.png")) for i, image in enumerate(images)]


@pytest.mark.parametrize(
    ("count", "total", "chosen"),
    [(3, 9, [0, 3, 6]), (4, 10, [0, 2, 5, 7]), (5, 2, [0, 1]), (1, 7, [0]), (3, 0, [])],
)
def test_spread_takes_what_there_is(count: int, total: int, chosen: list[int]) -> None:
    assert spread(count, total) == chosen


def test_samples_of_classes_are_those_of_their_seeds_with_previews_of_the_first(pipeline: DARPipeline) -> None:
    samples = class_samples(pipeline, [2, 0], seed=5, settings={"guidance_scale": 2.0})
    assert samples.names == ["sea_lion", "cat"]
    assert [len(row) for row in samples.rows] == [PER_CLASS, PER_CLASS]
    alone = pipeline(["cat"], guidance_scale=2.0, seed=5 + PER_CLASS + 1).images[0]
    assert differ_by(samples.rows[1][1], alone) <= 1
    assert [label for label, _ in samples.steps] == [f"step {k} of 4, {2 * k} of 8 tokens" for k in (1, 2, 3, 4)]
    assert samples.steps[-1][1] == [row[0] for row in samples.rows]
    assert samples.seconds > 0


def test_layouts_keep_more_and_more_of_each_reference(pipeline: DARPipeline) -> None:
    references = originals(2)
    layout = layout_samples(pipeline, references, [1, 2], seed=3, settings={"temperature": 0.5})
    assert (layout.names, layout.kept) == (["great dane", "sea_lion"], [0, 2, 4])
    assert layout.count == 2 * (2 * 2 + 1)
    assert layout.rows[0][0] == layout.rows[1][0] == pipeline([1, 2], seed=3, temperature=0.5).images
    for reference, rows in zip(references, layout.rows, strict=True):
        for kept, row in zip(layout.kept[1:], rows[1:], strict=True):
            alone = pipeline([1, 2], seed=3, temperature=0.5, layout=reference.image, layout_tokens=kept).images
            assert max(differ_by(one, other) for one, other in zip(row, alone, strict=True)) <= 1


def test_reconstructions_grow_by_a_group(pipeline: DARPipeline) -> None:
    pictures = originals(2)
    found = reconstruct_originals(pipeline, pictures, seed=4)
    assert found.stages[1][0] == "2 of 4 groups, 4 tokens"
    tokens = pipeline.tokenizer.encode(to_pixels([one.image for one in pictures]))
    assert differ_by(found.stages[-1][1][1], to_images(pipeline.tokenizer.decode(tokens, seed=4))[1]) <= 1


def test_reconstructions_are_denoised_as_the_model_says(pipeline: DARPipeline) -> None:
    euler = DARPipeline(pipeline.tokenizer, pipeline.prior, settings=GenerationSettings(solver="euler"))
    pictures = originals(1)
    found = reconstruct_originals(euler, pictures, seed=0).stages[-1][1]
    tokens = pipeline.tokenizer.encode(to_pixels([pictures[0].image]))
    assert differ_by(found[0], to_images(pipeline.tokenizer.decode(tokens, solver="euler"))[0]) <= 1
    assert found != reconstruct_originals(pipeline, pictures, seed=0).stages[-1][1]


def test_samples_can_be_originals_under_the_names_that_generate_gives_them(pipeline: DARPipeline) -> None:
    samples = class_samples(pipeline, [0, 1], seed=0, settings={})
    found = samples_as_originals(samples, Path("out"))
    assert [one.file.name for one in found] == ["0000-cat.png", "0003-great-dane.png"]
    assert [one.image for one in found] == [row[0] for row in samples.rows]


def test_pictures_come_from_all_over_a_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "notes.txt").write_text("no picture")
    for i in range(2 * ORIGINALS):
        Image.new("RGB", (30, 20), (10 * i, 0, 0)).save(tmp_path / "deep" / f"{i:02d}.png")
    found, count = originals_in(tmp_path, size=16)
    assert count == 2 * ORIGINALS
    assert [one.name for one in found] == [f"{2 * i:02d}" for i in range(ORIGINALS)]
    assert {one.image.size for one in found} == {(16, 16)}
    assert found[1].image.getpixel((0, 0)) == (20, 0, 0)


def test_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DARError, match="is not a folder"):
        originals_in(tmp_path / "missing", 16)
    with pytest.raises(DARError, match="holds no pictures"):
        originals_in(tmp_path, 16)
