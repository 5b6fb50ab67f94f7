"""Exact top-k of inner products whose result depends on nothing but the keys and the query.

A float32 matrix product rounds differently for other batch sizes, chunks, threads and devices, so it may swap near
ties. It is used here only to pick a pool of candidates. These are scored again on a fixed-point grid in float64, where
every product and every partial sum is an integer below 2^53 and therefore exact in any order. The pool grows until the
k-th score exceeds whatever a row outside the pool could reach within the float32 error bound (Higham 2002, section
3.1). Equal scores are ordered by row, oldest first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

POOL_MARGIN = 16  # candidates beyond k in the first pool
QUERY_BLOCK = 256  # queries per matrix product, to bound memory; no effect on the result
RESCORE_ELEMENTS = 1 << 24  # key elements gathered at once, to bound memory; no effect on the result

# (queries [batch, width], size) -> coarse scores and rows [batch, <= size], in any order, padded with -inf and -1;
# fewer than `size` columns say that no row was left out.
Pool = Callable[[Tensor, int], tuple[Tensor, Tensor]]


class KeyTable:
    """Keys `[rows, width]` in one contiguous float32 tensor that grows by doubling, and which of them are live."""

    def __init__(self, width: int, device: torch.device) -> None:
        """Make an empty table on `device`."""
        self.num_rows = 0
        self.max_norm = torch.zeros((), device=device)  # an upper bound: removal does not lower it
        self._keys = torch.empty(0, width, device=device)
        self._live = torch.empty(0, dtype=torch.bool, device=device)

    @property
    def keys(self) -> Tensor:
        """Return all keys `[rows, width]`; those of removed rows are zero."""
        return self._keys[: self.num_rows]

    @property
    def live(self) -> Tensor:
        """Return `[rows]`, False for removed rows."""
        return self._live[: self.num_rows]

    def add(self, keys: Tensor) -> None:
        """Append keys `[n, width]`."""
        stop = self.num_rows + len(keys)
        if stop > len(self._keys):
            spare = max(stop, 2 * len(self._keys), 256) - self.num_rows
            self._keys = torch.cat([self.keys, self._keys.new_zeros(spare, self._keys.shape[1])])
            self._live = torch.cat([self.live, self._live.new_zeros(spare)])
        self._keys[self.num_rows : stop] = keys
        if len(keys):
            self.max_norm = torch.maximum(self.max_norm, self._keys[self.num_rows : stop].norm(dim=1).max())
        self._live[self.num_rows : stop] = True
        self.num_rows = stop

    def remove(self, rows: Sequence[int]) -> None:
        """Zero the keys of rows and mark them as removed."""
        index = torch.tensor(rows, dtype=torch.long, device=self._keys.device)
        self._keys[index] = 0
        self._live[index] = False

    def truncate(self, num_rows: int) -> None:
        """Drop the rows from `num_rows` on."""
        self._keys[num_rows:] = 0
        self.num_rows = min(num_rows, self.num_rows)


def top_k(queries: Tensor, k: int, table: KeyTable, pool: Pool) -> tuple[Tensor, Tensor]:
    """Return the k best scores (float32) and rows `[batch, k]` of queries `[batch, width]`, padded with -inf and -1.

    `pool` proposes candidate rows of `table` by a float32 product.
    """
    keys = table.keys
    scores = torch.full((len(queries), k), -math.inf, device=queries.device)
    rows = torch.full((len(queries), k), -1, dtype=torch.long, device=queries.device)
    if k == 0 or len(keys) == 0:
        return scores, rows
    for pending in torch.split(torch.arange(len(queries), device=queries.device), QUERY_BLOCK):
        size = k + POOL_MARGIN
        while len(pending):
            chosen = queries[pending]
            coarse, candidates = pool(chosen, size)
            best, best_rows = _rescore(chosen, k, keys, candidates)
            scores[pending, : best.shape[1]] = best.float()
            rows[pending, : best.shape[1]] = best_rows
            if coarse.shape[1] < size:
                break
            bound = _float32_error(keys.shape[1], keys) * chosen.norm(dim=1) * table.max_norm
            uncertain = best[:, -1] <= (coarse.amin(dim=1) + bound)
            # a pool padded with -inf holds every live row already
            pending = pending[uncertain & coarse.amin(dim=1).isfinite()]
            size *= 4
    return scores, rows


def _float32_error(width: int, keys: Tensor) -> float:
    """Return a bound on |float32 product - fixed-point product| per unit of |query| |key|."""
    bound = width * 2.0**-23
    return bound + 2.0**-9 if keys.is_cuda and torch.backends.cuda.matmul.allow_tf32 else bound


def _rescore(queries: Tensor, k: int, keys: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Return the k best of the candidate rows `[batch, pool]` by exact score (float64), ties by row."""
    candidates = candidates.sort(dim=1).values
    per_block = max(1, RESCORE_ELEMENTS // (candidates.shape[1] * keys.shape[1]))
    parts = [
        fixed_point_scores(block, keys[rows.clamp(min=0)])
        for block, rows in zip(torch.split(queries, per_block), torch.split(candidates, per_block), strict=True)
    ]
    scores = torch.cat(parts).masked_fill(candidates < 0, -math.inf)
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return scores.gather(1, order), candidates.gather(1, order)


def fixed_point_scores(queries: Tensor, keys: Tensor) -> Tensor:
    """Return exact inner products `[batch, n]`, float64, of queries `[batch, width]` and keys `[batch, n, width]`.

    Each vector is rounded to multiples of 2^-bits of its power-of-two range, as fine as exact sums allow: 22 bits at
    width 256, so that a score is as accurate as float32.
    """
    bits = (53 - math.ceil(math.log2(queries.shape[1]))) // 2
    query_integers, query_unit = _on_grid(queries, bits)
    key_integers, key_unit = _on_grid(keys, bits)
    return (key_integers * query_integers[:, None]).sum(dim=2) * (key_unit * query_unit[:, None])


def _on_grid(vectors: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    # the largest magnitude, unlike a norm, does not depend on an order of summation
    exponents = torch.frexp(vectors.abs().amax(dim=-1)).exponent
    unit = torch.ldexp(torch.ones_like(exponents, dtype=torch.float64), exponents - bits)
    return (vectors.double() / unit[..., None]).round(), unit
