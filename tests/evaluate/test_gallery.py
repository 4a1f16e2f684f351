import torch

from dar.evaluate.gallery import GALLERY_ROWS, Gallery

COUNT, SIDE = 3 * GALLERY_ROWS, 16


def uint8_images(indices: range) -> torch.Tensor:
    """An original and two stages, B images each, as grey as their index."""
    return torch.stack([torch.full((3, 3, SIDE, SIDE), index, dtype=torch.uint8) for index in indices], dim=1)


def filled(batch_size: int) -> Gallery:
    gallery = Gallery({1, 5})
    for start in range(0, COUNT, batch_size):
        indices = range(start, min(start + batch_size, COUNT))
        gallery.add([float(index // 2) for index in indices], indices, uint8_images(indices))
    return gallery


def test_the_worst_and_the_best_are_kept_in_order_and_ties_by_index() -> None:
    gallery = filled(7)
    assert [row.index for row in gallery.worst] == list(range(GALLERY_ROWS))
    best = [row.index for row in gallery.best]
    assert best[:4] == [COUNT - 2, COUNT - 1, COUNT - 4, COUNT - 3]
    assert len(best) == GALLERY_ROWS
    assert [row.index for row in gallery.others] == [1, 5]
    assert all((row.images == row.index).all() for row in (*gallery.worst, *gallery.best, *gallery.others))


def test_batches_make_no_difference() -> None:
    assert filled(1).sheets() == filled(COUNT).sheets()


def test_no_sheet_is_drawn_of_nothing() -> None:
    assert not Gallery(()).sheets()
