import pytest
import torch

from dar.token_cache import Place, TokenCache, seen_mask


def cache(*lengths: int, room: int = 6) -> TokenCache:
    """One layer, head and channel; each row's keys and values count from 10 times the row."""
    values = torch.arange(float(room)) + 10 * torch.arange(1.0, len(lengths) + 1)[:, None]
    return TokenCache(values.expand(1, 2, 1, -1, -1).transpose(2, 3).unsqueeze(-1).clone(), lengths)


def store(kept: TokenCache, new: torch.Tensor) -> torch.Tensor:
    return kept.place(new.shape[1]).store(kept.tensors[0], new[:, :, None, None, None].expand(-1, -1, 2, -1, -1))


def test_rows_are_selected_in_any_order() -> None:
    whole = cache(2, 4, 3)
    part = whole.select([2, 0, 2])
    assert part.lengths == [3, 2, 3]
    assert part.tensors[0, 0, :, 0, 0, 0].tolist() == [30, 10, 30]
    part.tensors.zero_()
    assert whole.tensors.all()


def test_joined_rows_keep_their_lengths() -> None:
    joined = TokenCache.joined([cache(2), cache(4, 5)])
    assert joined.lengths == [2, 4, 5]
    assert joined.tensors.shape[2] == 3


def test_rows_are_put_back() -> None:
    whole = cache(2, 4, 3)
    part = whole.select([2, 0])
    part.tensors.fill_(-1)
    part.extend([1, 2])
    whole.put([2, 0], part)
    assert whole.lengths == [4, 4, 4]
    assert whole.tensors[0, 0, :, 0, 0, 0].tolist() == [-1, 20, -1]


@pytest.mark.parametrize("lengths", [(2, 2), (2, 4), (0, 3)])
def test_new_tokens_come_after_what_each_row_has_seen(lengths: tuple[int, int]) -> None:
    kept, new = cache(*lengths), torch.tensor([[-1.0, -2.0], [-3.0, -4.0]])
    seen = store(kept, new)
    assert seen.shape[3] == max(lengths) + 2
    for row, length in enumerate(lengths):
        assert kept.tensors[0, 1, row, 0, length : length + 2, 0].tolist() == new[row].tolist()
        assert kept.tensors[0, 1, row, 0, :length, 0].tolist() == [10 * (row + 1) + i for i in range(length)]


def test_each_token_sees_itself_and_what_is_before_it() -> None:
    device = torch.device("cpu")
    together = Place.of([1, 1], 2, 6, device).mask
    assert together is not None
    assert together.tolist() == [[True, True, False], [True, True, True]]
    apart = Place.of([0, 2], 1, 6, device).mask
    assert apart is not None
    assert apart[:, 0, 0].tolist() == [[True, False, False], [True, True, True]]
    assert Place.of([3, 3], 1, 6, device).mask is None


def test_who_may_look_at_all_is_masked_only_where_rows_differ() -> None:
    device = torch.device("cpu")
    assert seen_mask([3, 3], device) is None
    mask = seen_mask([1, 3], device)
    assert mask is not None
    assert mask[:, 0, 0].tolist() == [[True, False, False], [True, True, True]]
