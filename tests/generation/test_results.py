import io

from PIL import Image

from dar.generation.results import MOST_SHOWN, Generation, Preview
from dar.pipeline import DARPipeline


def shown(result: Generation | Preview) -> Image.Image:
    return Image.open(io.BytesIO(result._repr_png_()))


def test_results_are_told_on_one_line(pipeline: DARPipeline) -> None:
    first, *_ = pipeline.stream(["cat", "sea lion"], seed=3)
    assert repr(first) == "Preview after step 1 of 4: 2 images of 16 x 16 pixels, 2 tokens known"
    whole = pipeline("cat", guidance_scale=2)
    assert repr(whole) == (
        "Generation of 1 image of 16 x 16 pixels, 8 tokens each: "
        "guidance 2, temperature 1, 4 steps of adams-bashforth-2"
    )
    assert str(whole) == repr(whole)


def test_results_tell_how_they_were_made(pipeline: DARPipeline) -> None:
    whole = pipeline(["cat", 2], seed=7, top_k=5)
    assert (whole.class_names, whole.seeds) == (["cat", "sea_lion"], [7, 8])
    assert whole.settings == pipeline.resolved({"top_k": 5})


def test_notebooks_show_captioned_sheets(pipeline: DARPipeline) -> None:
    preview, *_ = pipeline.stream(["cat"] * 3)
    whole = pipeline(["cat"] * 3)
    assert shown(whole).size == whole.sheet().size
    assert whole.sheet().width > 3 * 128  # enlarged
    assert whole.sheet().height > 128 + 10  # a caption below
    assert shown(preview).height > shown(whole).height  # the step stands above


def test_large_batches_are_shown_in_part(pipeline: DARPipeline) -> None:
    sheets = [pipeline("cat", num_images_per_prompt=MOST_SHOWN + extra, steps=1).sheet() for extra in (0, 3)]
    assert sheets[0].size == sheets[1].size


def test_the_pipeline_names_model_sizes_and_device(pipeline: DARPipeline) -> None:
    bundled = DARPipeline.from_pretrained()
    for said in (repr(bundled), bundled._repr_html_()):
        for part in ("the bundled model cifar10", "32 x 32", "64 in", "float32 on cpu", "M (tokenizer)", "guidance "):
            assert part in said
    assert "\n" not in repr(bundled)
    pipeline_of_parts = DARPipeline(pipeline.tokenizer, pipeline.prior, name="<b>")
    assert "&lt;b&gt;" in pipeline_of_parts._repr_html_()
