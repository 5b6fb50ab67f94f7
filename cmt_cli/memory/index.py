"""Search by inner product over the keys of a bank: exact, or approximate through inverted lists, behind the same calls.

Inverted lists (IVF): Sivic & Zisserman 2003; Jegou et al. 2011 (IEEE TPAMI 33(1)). Keys are assigned to the nearest of
about sqrt(rows) k-means centroids, and a query looks only into the lists of its `num_probes` best centroids.
Neither's result depends on the batch of queries, on chunking or on the batches in which rows were added: see `ranking`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from cmt_cli.memory.key_table import KeyTable
from cmt_cli.memory.kmeans import kmeans, nearest
from cmt_cli.memory.top_k import top_k

KEY_CHUNK = 65536  # rows per matrix product, to bound memory; no effect on the result
MIN_LISTED_ROWS = 4096  # below this many rows an inverted index searches all of them
TRAINING_ROWS_PER_LIST = 64
KMEANS_ITERATIONS = 10


class KeyIndex(Protocol):
    """Rows are numbered in the order in which they are added; a removed row keeps its number and is not found again."""

    def add(self, keys: Tensor) -> None:
        """Append keys `[n, width]`."""

    def remove(self, rows: Sequence[int]) -> None:
        """Erase rows."""

    def truncate(self, num_rows: int) -> None:
        """Forget all rows from number `num_rows` on."""

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the k best scores (float32) and rows, both `[batch, k]`; missing ones are -inf and -1."""


class ExactIndex:
    """Score every key by a matrix product in chunks."""

    def __init__(self, *, key_width: int, device: torch.device) -> None:
        """Make an empty index on `device`."""
        self.table = KeyTable(key_width, device)

    def add(self, keys: Tensor) -> None:
        """Append keys `[n, width]`."""
        self.table.add(keys)

    def remove(self, rows: Sequence[int]) -> None:
        """Erase rows."""
        self.table.remove(rows)

    def truncate(self, num_rows: int) -> None:
        """Forget all rows from number `num_rows` on."""
        self.table.truncate(num_rows)

    @torch.no_grad()
    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the k best scores and rows `[batch, k]`."""
        return top_k(queries.float(), k, self.table, self._pool)

    def _pool(self, queries: Tensor, size: int) -> tuple[Tensor, Tensor]:
        best = queries.new_empty(len(queries), 0)
        rows = best.long()
        for start in range(0, self.table.num_rows, KEY_CHUNK):
            live = self.table.live[start : start + KEY_CHUNK]
            scores = queries @ self.table.keys[start : start + KEY_CHUNK].T
            scores = scores.masked_fill(~live, -math.inf)
            top = scores.topk(min(size, scores.shape[1]), dim=1)
            best, rows = torch.cat([best, top.values], dim=1), torch.cat([rows, top.indices + start], dim=1)
            merged = best.topk(min(size, best.shape[1]), dim=1)
            best, rows = merged.values, rows.gather(1, merged.indices)
        return best, rows.masked_fill(best == -math.inf, -1)


class ApproximateIndex:
    """Score the keys in the lists of a query's nearest centroids only.

    Centroids are trained on the first 4,096 rows and again whenever the rows have doubled; rows added in between go to
    the nearest centroid. Removing a row that took part makes the next search train again. So the lists are a function
    of the stored keys and `seed` alone: a bank opened again finds the same rows, and a removed key leaves no trace.
    """

    def __init__(self, *, key_width: int, device: torch.device, num_probes: int, seed: int) -> None:
        """Make an empty index that searches `num_probes` lists per query."""
        self._exact = ExactIndex(key_width=key_width, device=device)
        self._table = self._exact.table
        self._num_probes, self._seed = num_probes, seed
        self._key_width, self._device = key_width, device
        self._trained_rows = 0
        self._centroids = torch.empty(0, key_width, device=device)
        self._centroid_index = ExactIndex(key_width=key_width, device=device)
        self._list_of = torch.empty(0, dtype=torch.long, device=device)  # [rows assigned so far]
        self._packed: _PackedLists | None = None

    def add(self, keys: Tensor) -> None:
        """Append keys `[n, width]`; the next search puts them into lists."""
        self._table.add(keys)
        self._packed = None

    def remove(self, rows: Sequence[int]) -> None:
        """Erase rows."""
        self._table.remove(rows)
        self._packed = None
        if any(row < self._trained_rows for row in rows):
            self._trained_rows = 0

    def truncate(self, num_rows: int) -> None:
        """Forget all rows from number `num_rows` on."""
        self._table.truncate(num_rows)
        self._packed, self._list_of = None, self._list_of[:num_rows]
        if num_rows < self._trained_rows:
            self._trained_rows = 0

    @torch.no_grad()
    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the k best scores and rows `[batch, k]` among the probed lists."""
        if self._table.num_rows < MIN_LISTED_ROWS:
            return self._exact.search(queries, k)
        if self._packed is None:
            self._packed = self._pack()
        return top_k(queries.float(), k, self._table, self._pool)

    def _pack(self) -> _PackedLists:
        doublings = (self._table.num_rows // MIN_LISTED_ROWS).bit_length() - 1
        if MIN_LISTED_ROWS << doublings != self._trained_rows:
            self._train(MIN_LISTED_ROWS << doublings)
        fresh = self._table.keys[len(self._list_of) :]
        # in float64 a near tie does not fall differently in another batch of additions
        self._list_of = torch.cat([self._list_of, nearest(fresh.double(), self._centroids.double())[0]])
        return _PackedLists(self._table, self._list_of, len(self._centroids))

    def _train(self, num_rows: int) -> None:
        candidates = self._table.live[:num_rows].nonzero().flatten()
        if not len(candidates):
            candidates = torch.zeros(1, dtype=torch.long, device=self._device)  # any centroid serves removed rows
        num_lists = max(1, round(math.sqrt(num_rows)))
        generator = torch.Generator().manual_seed(self._seed)
        chosen = torch.randperm(len(candidates), generator=generator)[: TRAINING_ROWS_PER_LIST * num_lists]
        sample = self._table.keys[candidates[chosen.to(candidates.device)]]
        self._centroids = kmeans(sample, num_lists, num_iterations=KMEANS_ITERATIONS, generator=generator)
        self._centroid_index = ExactIndex(key_width=self._key_width, device=self._device)
        self._centroid_index.add(self._centroids)
        self._trained_rows, self._list_of = num_rows, self._list_of[:0]

    def _pool(self, queries: Tensor, size: int) -> tuple[Tensor, Tensor]:
        assert self._packed is not None
        probes = self._centroid_index.search(queries, min(self._num_probes, len(self._centroids)))[1]
        scores, rows = self._packed.best(queries, probes, size)
        top = scores.topk(min(size, scores.shape[1]), dim=1)
        return top.values, rows.gather(1, top.indices)


class _PackedLists:
    """The live keys in the order of their lists, so that each list is one contiguous matrix."""

    def __init__(self, table: KeyTable, list_of: Tensor, num_lists: int) -> None:
        live_rows = table.live.nonzero().flatten()
        order = list_of[live_rows].argsort(stable=True)
        self.rows = live_rows[order]
        self.keys = table.keys[self.rows]
        self.sizes = torch.bincount(list_of[live_rows], minlength=num_lists)
        self.starts = self.sizes.cumsum(0) - self.sizes

    def best(self, queries: Tensor, probes: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return the `size` best scores and rows of each probed list `[batch, probes]`, joined and padded."""
        num_probes = probes.shape[1]
        shape = (len(queries) * num_probes, min(size, max(1, int(self.sizes.max()))))
        scores = torch.full(shape, -math.inf, device=queries.device)
        rows = torch.full(shape, -1, dtype=torch.long, device=queries.device)
        order = probes.flatten().argsort(stable=True)
        lists, counts = torch.unique_consecutive(probes.flatten()[order], return_counts=True)
        spans = torch.stack([self.starts[lists], self.sizes[lists]], dim=1).tolist()
        # one matrix product per list, for all queries that probe it
        for (start, length), pairs in zip(spans, torch.split(order, counts.tolist()), strict=True):
            products = queries[pairs // num_probes] @ self.keys[start : start + length].T
            top = products.topk(min(size, length), dim=1)
            scores[pairs, : top.values.shape[1]] = top.values
            rows[pairs, : top.values.shape[1]] = self.rows[start + top.indices]
        return scores.view(len(queries), -1), rows.view(len(queries), -1)
