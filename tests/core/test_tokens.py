import pytest

from cmt_cli.core.tokens import (
    common_length,
    cut_middle,
    left_padded,
    length_batches,
    like_lengths,
    text_windows,
    windows,
)


def test_common_length_counts_the_shared_start() -> None:
    assert common_length([1, 2, 3], [1, 2, 4, 5]) == 2
    assert common_length([1, 2], [1, 2, 3]) == 2
    assert common_length([], [1]) == 0


def test_windows_overlap_and_cover_every_token() -> None:
    assert windows([1, 2, 3, 4, 5], max_tokens=3, stride=2) == [[1, 2, 3], [3, 4, 5]]
    assert windows([1, 2, 3, 4, 5, 6], max_tokens=3, stride=2) == [[1, 2, 3], [3, 4, 5], [5, 6]]
    assert windows([1, 2], max_tokens=3, stride=3) == [[1, 2]]
    assert windows([], max_tokens=3, stride=3) == [[]]
    for length in range(1, 30):
        ids = list(range(length))
        pieces = windows(ids, max_tokens=7, stride=4)
        assert {token for piece in pieces for token in piece} == set(ids)
        assert all(len(piece) <= 7 for piece in pieces)


def test_windows_with_gaps_are_refused() -> None:
    with pytest.raises(ValueError, match="stride"):
        windows([1, 2, 3], max_tokens=2, stride=3)


@pytest.mark.parametrize("start", [[], [9]])
def test_text_windows_score_each_token_once(start: list[int]) -> None:
    ids = list(range(10))
    pieces = text_windows(ids, start=start, max_tokens=4)
    scored = [token for tokens, num_context in pieces for token in tokens[max(num_context, 1) :]]
    assert scored == (ids if start else ids[1:])
    assert all(len(tokens) <= 4 for tokens, _ in pieces)


def test_a_cut_prompt_keeps_its_front_and_its_end() -> None:
    assert cut_middle([9], [1, 2, 3, 4, 5, 6], 5) == [9, 1, 2, 5, 6]
    assert cut_middle([9], [1, 2, 3, 4, 5, 6], 4) == [9, 1, 5, 6]
    assert cut_middle([9], [1, 2, 3], 10) == [9, 1, 2, 3]
    assert cut_middle([], [1, 2, 3], 2) == [1, 3]
    assert cut_middle([9], [1, 2, 3], 1) == [9, 3]


def test_left_padding_ends_all_rows_together() -> None:
    assert left_padded([[1], [2, 3]], 0) == ([[0, 1], [2, 3]], [[0, 1], [1, 1]])


def test_length_batches_hold_each_index_once_within_the_budget() -> None:
    lengths = [5, 1, 9, 2, 2, 30]
    batches = list(length_batches(lengths, max_tokens=10))
    assert sorted(i for batch in batches for i in batch) == list(range(6))
    assert batches == [[1, 3, 4], [0], [2], [5]]
    assert list(length_batches([], max_tokens=10)) == []


def test_no_prompt_is_padded_to_more_than_double() -> None:
    lengths = [5, 1, 9, 2, 2, 30]
    assert list(like_lengths(lengths, max_items=8, num_new=0)) == [[1, 3, 4], [0, 2], [5]]
    assert list(like_lengths(lengths, max_items=2, num_new=0)) == [[1, 3], [4], [0, 2], [5]]
    assert list(like_lengths(lengths, max_items=8, num_new=30)) == [[1, 3, 4, 0, 2, 5]]  # the prompts are the least
    assert list(like_lengths([], max_items=8, num_new=1)) == []
