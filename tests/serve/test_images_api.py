import pytest

from dar.serve.images_api import partial_steps


@pytest.mark.parametrize(
    ("count", "steps", "chosen"),
    [
        (0, 11, {}),
        (1, 8, {4: 0}),
        (3, 8, {2: 0, 4: 1, 6: 2}),
        (3, 11, {2: 0, 5: 1, 8: 2}),
        (3, 2, {1: 0}),
        (3, 1, {}),
        (2, 3, {1: 0, 2: 1}),
    ],
)
def test_previews_are_spread_evenly_and_end_before_the_image(count: int, steps: int, chosen: dict[int, int]) -> None:
    assert partial_steps(count, steps) == chosen
