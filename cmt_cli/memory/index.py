"""Exact search by inner product over the keys of a bank, and what every index offers; approximate: `faiss_index`.

The result depends neither on the batch of queries, nor on chunking, nor on the batches in which rows were added: see
`top_k`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from cmt_cli.memory.top_k import KeyTable, top_k

KEY_CHUNK = 65536  # rows per matrix product, to bound memory; no effect on the result


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
