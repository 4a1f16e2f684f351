import torch

from benchmarks.overlap import ahead, run
from dar.pipeline import DARPipeline


def test_groups_from_another_thread_are_the_same() -> None:
    threads, groups = torch.get_num_threads(), [torch.full((2, 4), i) for i in range(3)]
    assert [int(group[0, 0]) for group in ahead(iter(groups), 3, threads)] == [0, 1, 2]
    assert torch.get_num_threads() == threads


def test_both_ways_give_the_same_images(pipeline: DARPipeline) -> None:
    threads = torch.get_num_threads()
    in_turn, overlapped = [run(pipeline, 3, overlapped, threads) for overlapped in (False, True)]
    torch.testing.assert_close(in_turn[2], overlapped[2], rtol=0, atol=1e-4)
    assert 0 < overlapped[0] <= overlapped[1]
