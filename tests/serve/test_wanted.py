from dataclasses import replace

from dar.pipeline import DARPipeline
from dar.serve.fields import Fields
from dar.serve.wanted import read_settings


def test_tokens_are_drawn_one_by_one_even_of_a_model_that_is_sampled_by_drafts(pipeline: DARPipeline) -> None:
    own = replace(pipeline.settings, sampler="drafts", temperature=0.5)
    settings = read_settings(DARPipeline(pipeline.tokenizer, pipeline.prior, own), Fields({}))
    assert (settings.sampler, settings.temperature) == ("sequential", 0.5)
