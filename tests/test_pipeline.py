import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dar.errors import DARError
from dar.images import centre_crop, to_images, to_pixels
from dar.pipeline import DARPipeline, Preview
from dar.prior.decoding import TokenDecoder
from tests import tiny

CLASSES = ["cat", 1, "sea lion"]
VARIED = {"guidance_scale": (1.0, 4.0), "seed": 7, "solver": "euler", "temperature": 0.9, "top_k": 20, "top_p": 0.95}


def bitmaps(images: list[Image.Image]) -> list[bytes]:
    return [image.tobytes() for image in images]


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.fromarray(np.random.RandomState(0).randint(0, 256, (20, 30, 3), dtype=np.uint8))


@pytest.mark.parametrize("settings", [{}, VARIED, {"steps": 2}, {"steps": 7}])
def test_stream_ends_with_what_a_call_returns_to_the_bit(pipeline: DARPipeline, settings: dict[str, object]) -> None:
    *_, last = pipeline.stream(CLASSES, **settings)
    whole = pipeline(CLASSES, **settings)
    assert last.is_final
    assert bitmaps(last.images) == bitmaps(whole.images)
    assert torch.equal(last.tokens, whole.tokens)
    assert [image.size for image in whole.images] == [(16, 16)] * 3


def test_the_seed_fixes_everything(pipeline: DARPipeline) -> None:
    torch.manual_seed(1)
    first = pipeline(CLASSES, seed=3)
    torch.manual_seed(2)
    again, other = pipeline(CLASSES, seed=3), pipeline(CLASSES, seed=4)
    assert bitmaps(first.images) == bitmaps(again.images)
    assert not torch.equal(first.tokens, other.tokens)


@pytest.mark.parametrize("classes", [torch.tensor([0]), np.array([0]), [torch.tensor(0)], [np.int64(0)]])
def test_indices_may_be_tensors_and_arrays(pipeline: DARPipeline, classes: object) -> None:
    assert torch.equal(pipeline(classes, seed=3).tokens, pipeline(["cat"], seed=3).tokens)


def test_a_tensor_of_classes_makes_an_image_of_each(pipeline: DARPipeline) -> None:
    assert torch.equal(pipeline(torch.tensor([0, 1, 2])).tokens, pipeline(CLASSES).tokens)


@pytest.mark.parametrize("guidance", [1.0, (1.0, 4.0)])
def test_an_image_of_a_batch_equals_the_image_alone(pipeline: DARPipeline, guidance: float) -> None:
    *_, together = pipeline.stream(CLASSES, seed=5, guidance_scale=guidance)
    for i, wanted in enumerate(CLASSES):
        *_, alone = pipeline.stream([wanted], seed=5 + i, guidance_scale=guidance)
        assert torch.equal(together.tokens[i : i + 1], alone.tokens)
        torch.testing.assert_close(together.pixels[i : i + 1], alone.pixels, rtol=0, atol=1e-4)


def test_seeds_may_be_listed(pipeline: DARPipeline) -> None:
    counted, listed = pipeline(CLASSES, seed=5), pipeline(CLASSES, seed=[5, 6, 7])
    assert bitmaps(counted.images) == bitmaps(listed.images)
    turned = pipeline(CLASSES[::-1], seed=[7, 6, 5])
    assert torch.equal(turned.tokens, counted.tokens.flip(0))


def test_a_generator_may_draw_the_seeds(pipeline: DARPipeline) -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = pipeline(CLASSES, seed=generator), pipeline(CLASSES, seed=generator)
    again = pipeline(CLASSES, seed=torch.Generator().manual_seed(1))
    assert bitmaps(first.images) == bitmaps(again.images)
    assert not torch.equal(first.tokens, second.tokens)


def test_tokens_decode_to_the_image(pipeline: DARPipeline) -> None:
    for settings in ({}, {"steps": 7}, {"steps": 3, "solver": "euler"}):
        generated = pipeline(CLASSES, seed=11, **settings)
        decoded = pipeline.tokenizer.decode(generated.tokens, seed=11, **settings)
        torch.testing.assert_close(to_pixels(generated.images), to_pixels(to_images(decoded)), rtol=0, atol=1.5 / 127.5)


@pytest.mark.parametrize(
    ("steps", "known"),
    [
        (1, [8]),
        (2, [2, 8]),
        (3, [2, 4, 8]),
        (4, [2, 4, 6, 8]),
        (8, [2, 4, 4, 6, 6, 8, 8, 8]),
        (None, [2, 4, 6, 8]),
    ],
)
def test_a_preview_comes_as_soon_as_its_tokens_exist(
    pipeline: DARPipeline, steps: int | None, known: list[int]
) -> None:
    previews = list(pipeline.stream(CLASSES, steps=steps))
    assert [preview.tokens.shape for preview in previews] == [(3, count) for count in known]
    assert [preview.step for preview in previews] == list(range(1, len(known) + 1))
    assert [preview.is_final for preview in previews] == [False] * (len(known) - 1) + [True]
    assert all(preview.pixels.shape == (3, 3, 16, 16) for preview in previews)
    final = previews[-1].tokens
    assert all(torch.equal(preview.tokens, final[:, : preview.tokens.shape[1]]) for preview in previews)


def test_steps_do_not_change_tokens(pipeline: DARPipeline) -> None:
    tokens = [pipeline(CLASSES, steps=steps).tokens for steps in (1, 2, 4, 9)]
    assert all(torch.equal(other, tokens[0]) for other in tokens)


def test_a_preview_is_what_its_tokens_decode_to(pipeline: DARPipeline) -> None:
    for preview in pipeline.stream(CLASSES, seed=3):
        known = preview.tokens.shape[1]
        decoded = pipeline.tokenizer.decode(preview.tokens, seed=3, num_tokens=known)
        torch.testing.assert_close(preview.pixels, decoded, rtol=0, atol=1e-5)


def test_abandoning_a_stream_does_no_further_work(pipeline: DARPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    next_logits = TokenDecoder.next_logits

    def counted(*arguments: Any) -> torch.Tensor:
        calls.append(None)
        return next_logits(*arguments)

    monkeypatch.setattr(TokenDecoder, "next_logits", counted)
    next(pipeline.stream(["cat"]))
    assert len(calls) == 2


def test_the_callback_sees_every_preview(pipeline: DARPipeline) -> None:
    seen: list[Preview] = []
    whole = pipeline(CLASSES, callback=seen.append)
    streamed = list(pipeline.stream(CLASSES))
    assert [bitmaps(preview.images) for preview in seen] == [bitmaps(preview.images) for preview in streamed]
    assert bitmaps(seen[-1].images) == bitmaps(whole.images)


def test_settings_reach_the_prior(pipeline: DARPipeline) -> None:
    greedy = pipeline(["cat", "cat"], temperature=0.0)
    assert torch.equal(greedy.tokens[0], greedy.tokens[1])
    assert torch.equal(pipeline(["cat"], top_k=1).tokens, greedy.tokens[:1])
    assert torch.equal(pipeline(["cat"], top_p=1e-9).tokens, greedy.tokens[:1])
    plain = pipeline(CLASSES)
    assert not torch.equal(pipeline(CLASSES, guidance_scale=5.0).tokens, plain.tokens)


@pytest.mark.parametrize("kept", [1, 2, 3, 8])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_layout_keeps_the_first_tokens_of_the_picture(
    pipeline: DARPipeline, picture: Image.Image, kept: int, guidance: float
) -> None:
    reference = pipeline.tokenizer.encode(to_pixels([centre_crop(picture, 16)]))
    generated = pipeline(CLASSES, layout=picture, layout_tokens=kept, guidance_scale=guidance)
    assert generated.tokens.shape == (3, 8)
    assert torch.equal(generated.tokens[:, :kept], reference[:, :kept].expand(3, -1))
    if kept < 8:
        assert not torch.equal(generated.tokens, reference.expand(3, -1))


def test_tokens_to_keep_may_be_known(pipeline: DARPipeline, picture: Image.Image) -> None:
    expected = pipeline(CLASSES, layout=picture, layout_tokens=3, seed=5)
    again = pipeline(CLASSES, kept_tokens=expected.tokens[0, :3].tolist(), seed=5)
    assert torch.equal(again.tokens, expected.tokens)
    assert bitmaps(again.images) == bitmaps(expected.images)


def test_layout_may_be_a_file(pipeline: DARPipeline, picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "layout.png")
    expected = bitmaps(pipeline(["cat"], layout=picture, layout_tokens=4).images)
    for layout in (tmp_path / "layout.png", str(tmp_path / "layout.png")):
        assert bitmaps(pipeline(["cat"], layout=layout, layout_tokens=4).images) == expected


def test_each_image_may_have_a_layout_of_its_own(pipeline: DARPipeline, picture: Image.Image, tmp_path: Path) -> None:
    pictures = [picture.rotate(90 * turns) for turns in range(3)]
    pictures[1].save(tmp_path / "second.png")
    together = pipeline(CLASSES, layout=[pictures[0], tmp_path / "second.png", pictures[2]], layout_tokens=4, seed=5)
    for i, (wanted, layout) in enumerate(zip(CLASSES, pictures, strict=True)):
        alone = pipeline([wanted], layout=layout, layout_tokens=4, seed=5 + i)
        assert torch.equal(together.tokens[i : i + 1], alone.tokens)


def test_a_layout_picture_that_its_decoder_chokes_on_is_refused(pipeline: DARPipeline, picture: Image.Image) -> None:
    saved = io.BytesIO()
    picture.save(saved, "PNG")
    with (
        Image.open(io.BytesIO(saved.getvalue()[:200])) as opened,
        pytest.raises(DARError, match="the layout picture cannot be read"),
    ):
        pipeline.stream(["cat"], layout=opened, layout_tokens=4)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"layout_tokens": 4}, "a layout needs both"),
        ({"layout": "gone.png"}, "a layout needs both"),
        ({"layout": "gone.png", "layout_tokens": 4}, "gone.png does not exist"),
        ({"layout": "gone.png", "layout_tokens": 0}, "must lie between 1 and 8, not 0"),
        ({"layout": "gone.png", "layout_tokens": 9}, "must lie between 1 and 8, not 9"),
        ({"layout": ["gone.png"] * 2, "layout_tokens": 4}, "2 layouts were given for 1 images"),
        ({"layout": [], "layout_tokens": 4}, "0 layouts were given for 1 images"),
        ({"layout": ["gone.png"], "layout_tokens": 4}, "gone.png does not exist"),
        ({"kept_tokens": [32]}, "numbers from 0 to 31, not 1 from 32 to 32"),
        ({"kept_tokens": [0] * 9}, "at most 8 numbers"),
        ({"kept_tokens": [-1, 0.5]}, "a token to keep must be a whole number"),
        ({"kept_tokens": [1, 2**63]}, "tokens to keep must be at most 8 numbers from 0 to"),
        ({"kept_tokens": [-(2**70)]}, "tokens to keep must be at most 8 numbers from 0 to"),
        ({"classes": []}, "at least one class"),
        ({"classes": None}, "a class is a name or a whole number, not None"),
        ({"classes": "dog"}, "there is no class 'dog'"),
        ({"classes": ["cat", "dog"]}, "there is no class 'dog'"),
        ({"classes": [3]}, "class index 3 is out of range"),
        ({"seed": [1, 2]}, "2 seeds were given for 1 images"),
        ({"guidance_scale": -1.0}, "a guidance scale must be 0 or more"),
        ({"guidance_scale": (1.0, float("nan"))}, "a guidance scale must be 0 or more"),
        ({"steps": 0}, "at least 1 denoising step is needed, not 0"),
        ({"steps": -1}, "at least 1 denoising step is needed, not -1"),
        ({"solver": "heun"}, "there is no solver 'heun'"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_k": 0}, "top-k"),
        ({"top_p": 0.0}, "top-p"),
    ],
)
def test_what_is_out_of_range_is_refused_at_the_call(
    pipeline: DARPipeline, arguments: dict[str, object], complaint: str
) -> None:
    with pytest.raises(DARError, match=complaint):
        pipeline.stream(**{"classes": ["cat"], **arguments})


@pytest.mark.parametrize(("name", "value"), [("codebook_size", 64), ("num_tokens", 16)])
def test_models_that_speak_other_tokens_are_refused(pipeline: DARPipeline, name: str, value: int) -> None:
    stranger = tiny.prior(dataclasses.replace(tiny.PRIOR, **{name: value}))
    ours = getattr(tiny.TOKENIZER, name)
    with pytest.raises(DARError, match=f"the tokenizer's {name} is {ours}, the prior's {value}"):
        DARPipeline(pipeline.tokenizer, stranger)


def test_training_mode_is_left() -> None:
    pipeline = DARPipeline(tiny.tokenizer().train(), tiny.prior().train())
    assert not pipeline.tokenizer.training
    assert not pipeline.prior.training


def test_save_and_load_generates_the_same(pipeline: DARPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path)
    loaded = DARPipeline.from_pretrained(str(tmp_path))
    expected, found = pipeline(CLASSES, **VARIED), loaded(CLASSES, **VARIED)
    assert torch.equal(found.tokens, expected.tokens)
    assert bitmaps(found.images) == bitmaps(expected.images)


@pytest.mark.parametrize("source", ["no/such-model", "/no/such/folder", "no such name!", "https://a.b/c"])
def test_unknown_model_is_refused_by_name(source: str) -> None:
    with pytest.raises(DARError) as caught:
        DARPipeline.from_pretrained(source)
    assert source in str(caught.value)


def test_folder_without_models_is_refused(pipeline: DARPipeline, tmp_path: Path) -> None:
    with pytest.raises(DARError, match="tokenizer"):
        DARPipeline.from_pretrained(tmp_path)
    pipeline.tokenizer.save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(DARError, match="prior"):
        DARPipeline.from_pretrained(tmp_path)


def test_compiling_for_a_cpu_is_refused(pipeline: DARPipeline) -> None:
    with pytest.raises(DARError, match="compiling pays on a GPU only"):
        pipeline.compile()
