"""Exact and approximate search: the right rows, whatever the batches and chunks."""

import math
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cmt_cli.core.exceptions import UserError
from cmt_cli.memory import faiss_index, index, top_k
from cmt_cli.memory.faiss_index import FaissIndex
from cmt_cli.memory.index import ExactIndex, KeyIndex
from cmt_cli.memory.top_k import fixed_point_scores

CPU = torch.device("cpu")
WIDTH = 16


def exact() -> ExactIndex:
    return ExactIndex(key_width=WIDTH, device=CPU)


def inverted(num_probes: int = 4) -> FaissIndex:
    return FaissIndex(key_width=WIDTH, device=CPU, num_probes=num_probes, seed=0)


def every_list() -> FaissIndex:
    return inverted(num_probes=1000)


def clustered(num: int, seed: int) -> Tensor:
    """Return unit keys `[num, width]` around 50 centers, as keys of topics are."""
    centers = torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(seed)
    spread = centers[torch.randint(50, (num,), generator=generator)] + 0.3 * torch.randn(
        num, WIDTH, generator=generator
    )
    return torch.nn.functional.normalize(spread, dim=1)


@pytest.fixture
def small_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss_index, "MIN_LISTED_ROWS", 256)


def test_exact_search_equals_sorting_all_products() -> None:
    keys, queries = clustered(500, 0), clustered(9, 1)
    searched = exact()
    searched.add(keys)
    scores, rows = searched.search(queries, 5)
    expected = (queries.double() @ keys.double().T).topk(5)
    assert torch.equal(rows, expected.indices)
    assert torch.allclose(scores.double(), expected.values, atol=1e-6)


def test_keys_need_not_be_of_unit_length() -> None:
    keys = clustered(300, 0) * torch.logspace(-6, 6, 300)[:, None]
    searched = exact()
    searched.add(keys)
    scores, rows = searched.search(clustered(5, 1) * 1e-3, 4)
    expected = (clustered(5, 1).double() * 1e-3 @ keys.double().T).topk(4)
    assert torch.equal(rows, expected.indices)
    assert torch.allclose(scores.double(), expected.values, rtol=1e-5)


@pytest.mark.parametrize("make", [exact, inverted])
def test_the_result_does_not_depend_on_batches_or_chunks(
    make: Callable[[], KeyIndex], monkeypatch: pytest.MonkeyPatch, small_lists: None
) -> None:
    keys, queries = clustered(1500, 0), clustered(40, 1)
    whole = make()
    whole.add(keys)
    scores, rows = whole.search(queries, 6)
    monkeypatch.setattr(index, "KEY_CHUNK", 37)
    monkeypatch.setattr(top_k, "QUERY_BLOCK", 3)
    monkeypatch.setattr(top_k, "RESCORE_ELEMENTS", 1000)
    monkeypatch.setattr(top_k, "POOL_MARGIN", 1)
    pieces = make()
    for part in torch.split(keys, 111):
        pieces.add(part)
    for one in range(40):
        one_scores, one_rows = pieces.search(queries[one : one + 1], 6)
        assert torch.equal(one_scores[0], scores[one]) and torch.equal(one_rows[0], rows[one])


@pytest.mark.parametrize("make", [exact, every_list])
def test_equal_keys_are_ordered_by_row_however_many(make: Callable[[], KeyIndex], small_lists: None) -> None:
    searched = make()
    searched.add(clustered(1, 0).expand(400, -1))
    assert searched.search(clustered(2, 1), 5)[1].tolist() == [[0, 1, 2, 3, 4]] * 2


def test_sums_on_the_grid_are_exact_in_any_order() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, keys = torch.randn(3, 256, generator=generator), torch.randn(3, 20, 256, generator=generator)
    order = torch.randperm(256, generator=generator)
    scores = fixed_point_scores(queries, keys)
    assert torch.equal(fixed_point_scores(queries[:, order], keys[:, :, order]), scores)
    assert torch.allclose(scores, (keys.double() * queries.double()[:, None]).sum(dim=2), atol=1e-4)


@pytest.mark.parametrize("make", [exact, inverted])
def test_removed_and_truncated_rows_are_not_found(make: Callable[[], KeyIndex], small_lists: None) -> None:
    keys = clustered(600, 0)
    searched = make()
    searched.add(keys)
    searched.remove([3, 5])
    assert searched.search(keys[[3, 4]], 1)[1][1] == 4
    assert not torch.isin(searched.search(keys, 3)[1], torch.tensor([3, 5])).any()
    searched.truncate(4)
    scores, rows = searched.search(keys[:2], 4)
    assert rows.sort().values.tolist() == [[-1, 0, 1, 2]] * 2
    assert scores[0, -1] == -math.inf
    searched.add(keys[4:])
    assert searched.search(keys[[5]], 1)[1].tolist() == [[5]]


def test_probing_every_list_is_exact(small_lists: None) -> None:
    keys, queries = clustered(900, 0), clustered(20, 1)
    some, everything = exact(), inverted(num_probes=100)
    some.add(keys)
    everything.add(keys)
    assert torch.equal(some.search(queries, 7)[1], everything.search(queries, 7)[1])


def test_a_few_lists_hold_nearly_all_best_rows(small_lists: None) -> None:
    keys, queries = clustered(4000, 0), clustered(100, 1)
    full, approximate = exact(), inverted(num_probes=8)
    full.add(keys[:3000])
    approximate.add(keys[:3000])
    for part in torch.split(keys[3000:], 100):  # these only join the lists of their nearest centroids
        full.add(part)
        approximate.add(part)
    wanted, found = full.search(queries, 8)[1], approximate.search(queries, 8)[1]
    recall = (found[:, :, None] == wanted[:, None]).any(dim=1).float().mean()
    assert recall > 0.9


def test_the_lists_depend_on_stored_rows_not_their_history(small_lists: None) -> None:
    keys, queries = clustered(1200, 0), clustered(30, 1)
    lived, opened = inverted(num_probes=2), inverted(num_probes=2)
    for part in torch.split(keys, 100):
        lived.add(part)
        lived.search(queries, 3)
    lived.add(clustered(700, 2))
    lived.remove([5, 900, 1100])
    lived.search(queries, 3)
    lived.truncate(1200)
    opened.add(keys)
    opened.remove([5, 900, 1100])
    for one, other in zip(lived.search(queries, 6), opened.search(queries, 6), strict=True):
        assert torch.equal(one, other)


def test_removing_every_row_leaves_nothing_to_find(small_lists: None) -> None:
    searched = inverted()
    searched.add(clustered(300, 0))
    searched.remove(range(300))
    assert searched.search(clustered(2, 1), 2)[1].tolist() == [[-1, -1]] * 2


def test_too_few_rows_for_lists_are_searched_exactly(small_lists: None) -> None:
    keys = clustered(300, 0)
    searched = inverted()
    searched.add(keys)
    searched.remove(range(5, 300))
    assert searched.search(keys[[2, 4]], 1)[1].tolist() == [[2], [4]]


def test_the_seed_decides_the_lists(small_lists: None) -> None:
    keys, queries = clustered(2000, 0), clustered(200, 1)
    found = []
    for seed in (0, 0, 1):
        searched = FaissIndex(key_width=WIDTH, device=CPU, num_probes=1, seed=seed)
        searched.add(keys)
        found.append(searched.search(queries, 8)[1])
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_without_faiss_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"pip install 'cmt-cli\[faiss\]'"):
        inverted()
