from benchmarks.speculative import WIDTHS, compared
from dar.prior import Prior
from dar.prior.drawing import Sampling
from dar.prior.guidance import Guidance


def test_each_window_is_timed_and_its_passes_counted(prior: Prior) -> None:
    alone, ways = compared(prior, Guidance(1, 3), Sampling(), images=2)
    assert alone > 0
    assert list(ways) == list(WIDTHS[1:])
    assert all(1 <= gained <= window and taken > 0 for window, (gained, taken) in ways.items())
