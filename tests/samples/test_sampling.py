import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from dar.errors import DARError
from dar.generation.settings import GenerationSettings
from dar.pipeline import DARPipeline
from dar.samples.sampling import SampleSettings, rounded, sample_chunk
from tests import tiny

SEVEN = SampleSettings(generation=GenerationSettings(steps=2), num=7, chunk=3, classes=(0, 1, 2))


def changed(settings: SampleSettings, **changes: Any) -> SampleSettings:
    names = {field.name for field in dataclasses.fields(GenerationSettings)}
    of_generation = {name: changes.pop(name) for name in names & changes.keys()}
    generation = dataclasses.replace(settings.generation, **of_generation)
    return dataclasses.replace(settings, generation=generation, **changes)


def test_seeds_settings_and_chunks_matter_as_they_should(pipeline: DARPipeline) -> None:
    base = sample_chunk(pipeline, SEVEN, range(3))
    assert np.array_equal(sample_chunk(pipeline, SEVEN, range(3)), base)
    for change in ({"seed": 7}, {"guidance_scale": (1.0, 9.0)}, {"steps": 4}, {"temperature": 0.0}, {"top_k": 1}):
        assert not np.array_equal(sample_chunk(pipeline, changed(SEVEN, **change), range(3)), base), change
    shifted = changed(SEVEN, labels="balanced", classes=(1,))
    later = sample_chunk(pipeline, changed(shifted, seed=2), range(3)).astype(int)
    assert abs(later[0] - sample_chunk(pipeline, shifted, range(2, 3))[0]).max() <= 1  # image i uses seed + i


def test_balanced_labels_go_round() -> None:
    settings = changed(SEVEN, num=6, labels="balanced", classes=(0, 2, 7))
    assert [settings.label(i) for i in range(6)] == [0, 2, 7, 0, 2, 7]


def test_random_labels_are_uniform_and_functions_of_seed_and_index() -> None:
    settings = changed(SEVEN, num=6000, classes=(1, 4, 5))
    labels = [settings.label(i) for i in range(6000)]
    assert [changed(settings, num=9000, chunk=7).label(i) for i in range(100)] == labels[:100]
    counts = [labels.count(label) for label in (1, 4, 5)]
    assert sum(counts) == 6000
    assert all(abs(count - 2000) < 4 * (6000 * 1 / 3 * 2 / 3) ** 0.5 for count in counts)
    others = [changed(settings, seed=1).label(i) for i in range(6000)]
    agreement = sum(map(int.__eq__, labels, others)) / 6000
    assert agreement == pytest.approx(1 / 3, abs=0.03)
    assert others[:-1] != labels[1:]


def test_roundings_at_their_boundaries() -> None:
    step = 1 / 127.5
    values = torch.tensor([-2.0, -1.0, -1 + 0.99 * step, -1 + 1.01 * step, -0.5 * step, 0.0, 1 - 0.01 * step, 1.0, 3.0])
    pixels = values.expand(1, 3, 1, -1)
    assert rounded(pixels, "adm")[0, 0, :, 0].tolist() == [0, 0, 0, 1, 127, 127, 254, 255, 255]
    assert rounded(pixels, "dit")[0, 0, :, 0].tolist() == [0, 0, 1, 1, 127, 128, 255, 255, 255]
    assert rounded(tiny.pixels(2).bfloat16(), "adm").shape == (2, 16, 16, 3)
    ramp = (torch.arange(256) / 127.5 - 1).expand(1, 3, 1, -1)  # every level, as images hold them
    assert rounded(ramp, "dit")[0, 0, :, 0].tolist() == list(range(256))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": "balanced"}, "7 images cannot be balanced over 3 classes: sample 6, or use random labels"),
        ({"labels": "balanced", "num": 1}, "sample 3, or"),
        ({"labels": "all"}, "labels cannot be 'all': choose one of random, balanced"),
        ({"rounding": "up"}, "there is no rounding 'up': choose one of adm, dit"),
        ({"num": 0}, "at least 1 image"),
        ({"chunk": 0}, "at least 1 image"),
        ({"classes": ()}, "increasing indices"),
        ({"classes": (2, 1)}, "increasing indices"),
        ({"classes": (1, 1)}, "increasing indices"),
        ({"seed": -1}, "a seed must lie between"),
        ({"seed": 2**63 - 7, "num": 8}, "a seed must lie between"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(DARError, match=said):
        changed(SEVEN, **change)
