"""What people say to a pipeline, and that it is understood or refused in the words of what they called."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dar.checks import UnknownArgumentError
from dar.errors import DARError
from dar.generation.results import Generation
from dar.generation.settings import GenerationSettings
from dar.images import to_pixels
from dar.pipeline import DARPipeline
from dar.prior import Prior
from dar.tokenizer import SequentialDiffusionTokenizer
from tests import tiny

ARRAY = np.random.RandomState(0).randint(0, 256, (20, 30, 3), dtype=np.uint8)


def assert_same(first: Generation, second: Generation) -> None:
    assert torch.equal(first.tokens, second.tokens)
    torch.testing.assert_close(to_pixels(first.images), to_pixels(second.images), rtol=0, atol=1.5 / 127.5)


@pytest.fixture(scope="module")
def saved(pipeline: DARPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    own = GenerationSettings(guidance_scale=(1.0, 5.0), temperature=0.8, top_k=20, steps=6, solver="euler")
    DARPipeline(pipeline.tokenizer, pipeline.prior, own).save_pretrained(folder / "inner")
    return folder


def test_one_class_needs_no_list(pipeline: DARPipeline) -> None:
    assert_same(pipeline("sea lion", seed=4), pipeline(["sea lion"], seed=4))
    assert_same(pipeline(2, seed=4), pipeline(["sea lion"], seed=4))


def test_image_i_of_all_has_seed_plus_i(pipeline: DARPipeline) -> None:
    repeated = pipeline(["cat", "sea lion"], num_images_per_prompt=3, batch_size=2, seed=5)
    assert repeated.class_names == ["cat"] * 3 + ["sea_lion"] * 3
    assert repeated.seeds == list(range(5, 11))
    assert_same(repeated, pipeline(["cat"] * 3 + ["sea lion"] * 3, seed=5))


def test_layouts_belong_to_classes(pipeline: DARPipeline) -> None:
    layouts = [ARRAY, Image.fromarray(ARRAY[::-1])]
    repeated = pipeline(["cat", 1], num_images_per_prompt=2, batch_size=3, layout=layouts, layout_tokens=4)
    kept = pipeline.tokenizer.encode(layouts)[:, :4]
    assert torch.equal(repeated.tokens[:, :4], kept.repeat_interleave(2, dim=0))


@pytest.mark.parametrize("layout", [ARRAY, ARRAY[:, :, 0], np.stack([ARRAY, ARRAY]), [ARRAY, ARRAY]])
def test_a_layout_may_be_an_array(pipeline: DARPipeline, layout: Any) -> None:
    array = ARRAY[:, :, 0] if np.ndim(layout) == 2 else ARRAY
    expected = pipeline(["cat", 1], layout=Image.fromarray(array), layout_tokens=4)
    assert_same(pipeline(["cat", 1], layout=layout, layout_tokens=4), expected)


def test_tokens_may_stand_for_a_layout(pipeline: DARPipeline) -> None:
    tokens = pipeline.tokenizer.encode([ARRAY, ARRAY[::-1].copy()])
    for kept in (0, 3, 8):
        rows = pipeline(["cat", 1], seed=2, kept_tokens=tokens[:, :kept])
        pictures = {"layout": [ARRAY, ARRAY[::-1].copy()], "layout_tokens": kept} if kept else {}
        expected = pipeline(["cat", 1], seed=2, **pictures)
        assert torch.equal(rows.tokens, expected.tokens)
        assert torch.equal(rows.pixels, expected.pixels)


def test_pixels_are_the_images_before_rounding(pipeline: DARPipeline) -> None:
    made = pipeline(["cat", 1, 2], seed=2, batch_size=2)
    assert made.pixels.shape == (3, 3, 16, 16)
    assert (made.pixels - to_pixels(made.images)).abs().max() <= 0.5 / 127.5 + 1e-6


def test_checking_says_what_generation_would_say(pipeline: DARPipeline) -> None:
    pipeline.check("cat", guidance_scale=3, seed=1)
    with pytest.raises(DARError, match="at least 1 denoising step"):
        pipeline.check("cat", steps=0)
    with pytest.raises(UnknownArgumentError, match=r"DARPipeline.check\(\) has no argument 'step'"):
        pipeline.check("cat", step=1)


def test_progress_is_shown_only_if_asked_for(pipeline: DARPipeline, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline("cat", num_images_per_prompt=3)
    assert capsys.readouterr().err == ""
    pipeline("cat", num_images_per_prompt=3, batch_size=2, progress=True)
    assert "3 of 3 images" in capsys.readouterr().err


def test_a_generator_stands_beside_the_seed(pipeline: DARPipeline) -> None:
    def generator(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    drawn = pipeline(["cat", 1], generator=generator(1))
    assert_same(drawn, pipeline(["cat", 1], seed=generator(1)))
    assert_same(drawn, pipeline(["cat", 1], seed=drawn.seeds))
    each = pipeline(["cat", 1], generator=[generator(1), generator(2)])
    assert each.seeds[0] == drawn.seeds[0] != each.seeds[1]


def test_what_is_not_given_is_the_models_own(saved: Path) -> None:
    pipe = DARPipeline.from_pretrained(saved / "inner")
    own = {
        "guidance_scale": (1.0, 5.0),
        "temperature": 0.8,
        "top_k": 20,
        "top_p": 1.0,
        "steps": 6,
        "solver": "euler",
        "sampler": "sequential",
    }
    plain = pipe("cat", seed=3)
    assert plain.settings.values() == own
    assert_same(plain, pipe("cat", seed=3, **own))
    assert pipe("cat", top_k=None, temperature=1.0).settings.values() == {**own, "top_k": None, "temperature": 1.0}
    *_, last = pipe.stream("cat", seed=3)
    assert torch.equal(last.tokens, plain.tokens)
    assert last.step == last.num_steps == 6


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda pipe: pipe("cat", guidance=3),
            r"__call__\(\) has no argument 'guidance': did you mean 'guidance_scale'",
        ),
        (lambda pipe: pipe("cat", num_images=3), r"__call__\(\) .* 'num_images': did you mean 'num_images_per_prompt'"),
        (lambda pipe: pipe.stream("cat", sed=3), r"DARPipeline.stream\(\) has no argument 'sed': did you mean 'seed'"),
        (lambda pipe: pipe.stream("cat", batch_size=3), r"stream\(\) has no argument 'batch_size'"),
        (lambda _: DARPipeline.from_pretrained(dtyp=1), r"DARPipeline.from_pretrained\(\) .* did you mean 'dtype'"),
        (lambda _: Prior.from_pretrained("x", revison="y"), r"Prior.from_pretrained\(\) .* did you mean 'revision'"),
        (
            lambda _: SequentialDiffusionTokenizer.from_pretrained("x", sub_folder="y"),
            r"SequentialDiffusionTokenizer.from_pretrained\(\) has no argument 'sub_folder': did you mean 'subfolder'",
        ),
    ],
)
def test_unknown_keywords_are_refused_in_the_name_of_what_was_called(
    pipeline: DARPipeline, call: Any, said: str
) -> None:
    with pytest.raises(UnknownArgumentError, match=said):
        call(pipeline)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"seed": 1, "generator": torch.Generator()}, "seed and generator were both given"),
        ({"generator": 3}, "generator must be a torch.Generator, or one an image, not 3"),
        ({"generator": [torch.Generator()] * 2}, "2 generators were given for 1 images"),
        ({"seed": "3"}, "a seed must be a whole number, not '3'"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt must be at least 1, not 0"),
        ({"num_images_per_prompt": "2"}, "num_images_per_prompt must be a whole number, not '2'"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"guidance_scale": "three"}, "a guidance scale is a number like 3, .* not 'three'"),
        ({"guidance_scale": "3@2-9"}, "guidance 3@2-9 ends beyond an image's 8 tokens"),
        (
            {"kept_tokens": torch.zeros(2, 3, dtype=torch.int64)},
            "tokens to keep must be 1 rows of whole numbers, not 2",
        ),
        ({"kept_tokens": torch.zeros(1, 3)}, "tokens to keep must be 1 rows of whole numbers, not 1 of torch.float32"),
        ({"kept_tokens": torch.full((1, 3), 10**6)}, "tokens to keep must be at most 8 numbers from 0 to"),
        ({"temperature": None}, "temperature must be a number, not None"),
        ({"layout": ARRAY, "layout_tokens": "4"}, "layout tokens must be a whole number, not '4'"),
        ({"layout": ARRAY / 255, "layout_tokens": 4}, "the layout picture is an array of float64, 20 x 30 x 3"),
        ({"layout": torch.zeros(3, 16, 16), "layout_tokens": 4}, "the layout picture must be an image .* not Tensor"),
        ({"layout": np.stack([ARRAY] * 3), "layout_tokens": 4}, "3 layouts were given for 1 images"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_computed(
    pipeline: DARPipeline, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(DARError, match=said):
        pipeline("cat", **arguments)


def test_pipelines_move(saved: Path) -> None:
    pipe = DARPipeline.from_pretrained(saved / "inner")
    assert (pipe.device, pipe.dtype) == (torch.device("cpu"), torch.float32)
    assert pipe.to("cpu", torch.bfloat16) is pipe
    assert (pipe.dtype, pipe.prior.dtype) == (torch.bfloat16, torch.bfloat16)
    assert pipe.to(dtype="float32", device="CPU").cpu().prior.dtype == torch.float32
    with pytest.raises(DARError, match="dtype must be one of"):
        pipe.to(torch.int8)
    with pytest.raises(DARError, match="cannot compute on cuda:99 here"):
        pipe.cuda(99 if torch.cuda.is_available() else "cuda:99")


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16])
def test_coarse_weights_generate_and_steps_add_up_in_float32(saved: Path, dtype: Any, pipeline: DARPipeline) -> None:
    pipe = DARPipeline.from_pretrained(saved, subfolder="inner", dtype=dtype)
    assert pipe.dtype == pipe.prior.dtype != torch.float32
    *_, last = pipe.stream(["cat", 1], seed=3, layout=ARRAY, layout_tokens=3)
    assert last.pixels.dtype == torch.float32
    assert last.tokens.shape == (2, 8)
    exact = pipeline.tokenizer.decode(last.tokens, seed=3, steps=6, solver="euler")
    assert (last.pixels - exact).abs().mean() < 0.05
    assert {tensor.dtype for tensor in pipe.tokenizer.state_dict().values()} == {pipe.dtype}


def test_halves_load_from_subfolders(saved: Path) -> None:
    tokenizer = SequentialDiffusionTokenizer.from_pretrained(saved, subfolder="inner/tokenizer", dtype="bfloat16")
    assert tokenizer.dtype == torch.bfloat16
    assert Prior.from_pretrained(saved / "inner", subfolder="prior").dtype == torch.float32
    with pytest.raises(DARError, match="has no folder 'gone'"):
        DARPipeline.from_pretrained(saved, subfolder="gone")
    with pytest.raises(DARError, match="the bundled model has no folder 'gone'"):
        DARPipeline.from_pretrained(subfolder="gone")


def test_a_folder_here_has_no_revisions(saved: Path) -> None:
    with pytest.raises(DARError, match="is a folder here, which has no revisions"):
        DARPipeline.from_pretrained(saved / "inner", revision="main")


def test_the_hub_is_asked_for_the_revision_and_for_no_more_than_the_subfolder(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def download(source: str, **options: Any) -> str:
        asked.append({"source": source, **options})
        return str(saved)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr("dar.model_folder.on_hub", lambda *names: True)
    DARPipeline.from_pretrained("me/model", subfolder="inner", revision="v2", token="secret")
    assert asked == [
        {
            "source": "me/model",
            "revision": "v2",
            "token": "secret",
            "allow_patterns": ["inner/*.json", "inner/*.yaml", "inner/*.safetensors"],
            "local_files_only": False,
        }
    ]


@pytest.fixture(params=[torch.bfloat16, torch.float16, torch.float64], ids=str)
def other_default(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    before = torch.get_default_dtype()
    yield request.param
    torch.set_default_dtype(before)


def test_the_default_dtype_of_torch_does_not_matter(saved: Path, other_default: torch.dtype) -> None:
    def outcome() -> list[torch.Tensor]:
        pipe = DARPipeline.from_pretrained(saved / "inner")
        *_, last = pipe.stream(["cat", 1], seed=3, layout=ARRAY, layout_tokens=2)
        return [last.pixels, last.tokens, pipe.tokenizer.encode([ARRAY]), pipe.tokenizer.decode(tiny.tokens(2))]

    expected = outcome()
    torch.set_default_dtype(other_default)
    for found, wanted in zip(outcome(), expected, strict=True):
        assert found.dtype == wanted.dtype
        assert torch.equal(found, wanted)


def test_drafts_give_other_images_of_the_same_kind(pipeline: DARPipeline) -> None:
    drafted = pipeline(["cat", 1, 2], seed=3, sampler="drafts")
    assert not torch.equal(drafted.tokens, pipeline(["cat", 1, 2], seed=3).tokens)
    assert_same(drafted, pipeline(["cat", 1, 2], seed=3, sampler="drafts", batch_size=1))
    *_, last = pipeline.stream(["cat", 1, 2], seed=3, sampler="drafts")
    assert torch.equal(last.tokens, drafted.tokens)
    decoded = pipeline.tokenizer.decode(drafted.tokens, seed=[3, 4, 5], solver=drafted.settings.solver)
    torch.testing.assert_close(decoded, drafted.pixels, rtol=0, atol=1e-4)


def test_the_likeliest_tokens_are_the_same_however_they_are_drawn(pipeline: DARPipeline) -> None:
    assert_same(pipeline(["cat", 1], temperature=0, sampler="drafts"), pipeline(["cat", 1], temperature=0))


def test_drafts_keep_no_layout(pipeline: DARPipeline) -> None:
    with pytest.raises(DARError, match="'drafts' cannot keep the tokens of a layout"):
        pipeline.stream("cat", layout=ARRAY, layout_tokens=4, sampler="drafts")
