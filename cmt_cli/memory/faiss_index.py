"""An approximate index: the keys in inverted lists, searched by faiss (pip install 'cmt-cli[faiss]').

Douze et al. 2024 (arXiv 2401.08281); inverted lists: Jegou et al. 2011 (IEEE TPAMI 33(1)). Keys belong to the nearest
of about sqrt(rows) centroids of spherical k-means, and a query looks only into the lists of its `num_probes` best
centroids. faiss proposes candidates; `top_k` scores them exactly. Which lists a key or a query belongs to is decided
in float64, since faiss's own choice depends on how many vectors it is given at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.exceptions import UserError
from cmt_cli.memory.index import ExactIndex

MIN_LISTED_ROWS = 4096  # below this many rows all of them are searched


class FaissIndex(ExactIndex):
    """Score the keys in the lists of a query's nearest centroids only.

    Centroids are trained on the first 4,096 rows and again whenever the rows have doubled; rows added in between go to
    the nearest centroid. Removing rows makes the next search build everything again. So the lists are a function of the
    stored keys and `seed` alone: a bank opened again finds the same rows, and a removed key leaves no trace.
    """

    def __init__(self, *, key_width: int, device: torch.device, num_probes: int, seed: int) -> None:
        """Make an empty index that searches `num_probes` lists per query; raise UserError where faiss is missing."""
        super().__init__(key_width=key_width, device=device)
        self._faiss = _faiss()
        self._num_probes, self._seed = num_probes, seed
        self._lists: Any = None  # faiss.IndexIVFFlat of the live rows
        self._centroids = torch.empty(0, key_width, dtype=torch.float64, device=device)
        self._num_trained = self._num_listed = 0

    @override
    def remove(self, rows: Sequence[int]) -> None:
        """Erase rows."""
        super().remove(rows)
        if len(rows):
            self._num_trained = 0

    @override
    def truncate(self, num_rows: int) -> None:
        """Forget all rows from number `num_rows` on."""
        if num_rows < self.table.num_rows:
            self._num_trained = 0
        super().truncate(num_rows)

    @override
    def _pool(self, queries: Tensor, size: int) -> tuple[Tensor, Tensor]:
        if self.table.num_rows < MIN_LISTED_ROWS or not self._update():
            return super()._pool(queries, size)
        products, probes = self._nearest(queries, self._lists.nprobe)
        scores, rows = self._lists.search_preassigned(
            queries.cpu().numpy(), size, probes.cpu().numpy(), products.float().cpu().numpy()
        )
        found = torch.from_numpy(rows).to(queries.device)
        return torch.from_numpy(scores).to(queries.device).masked_fill(found < 0, -math.inf), found

    def _nearest(self, vectors: Tensor, num: int) -> tuple[Tensor, Tensor]:
        """Return the largest inner products of vectors `[n, width]` with centroids, and which, both `[n, num]`."""
        best = (vectors.double() @ self._centroids.T).topk(num, dim=1)
        return best.values, best.indices

    def _update(self) -> bool:
        """Put the rows that are in no list into one; return False where too few are left to make lists of."""
        num_rows = MIN_LISTED_ROWS << ((self.table.num_rows // MIN_LISTED_ROWS).bit_length() - 1)
        if num_rows != self._num_trained:
            self._train(num_rows)
        if self._lists is None:
            return False
        fresh = self.table.live[self._num_listed :].nonzero().flatten() + self._num_listed
        if len(fresh):
            keys = self.table.keys[fresh]
            arrays = keys.cpu().numpy(), fresh.cpu().numpy(), self._nearest(keys, 1)[1].flatten().cpu().numpy()
            self._lists.add_core(len(fresh), *(self._faiss.swig_ptr(np.ascontiguousarray(a)) for a in arrays))
        self._num_listed = self.table.num_rows
        return True

    def _train(self, num_rows: int) -> None:
        self._lists, self._num_trained, self._num_listed = None, num_rows, 0
        sample = self.table.keys[:num_rows][self.table.live[:num_rows]].cpu().numpy()
        num_lists, width = round(math.sqrt(num_rows)), sample.shape[1]
        if len(sample) < num_lists:
            return
        quantizer = self._faiss.IndexFlatIP(width)
        self._lists = self._faiss.IndexIVFFlat(quantizer, width, num_lists, self._faiss.METRIC_INNER_PRODUCT)
        self._lists.cp.seed = self._seed
        self._lists.cp.min_points_per_centroid = 1  # of fewer than that many rows faiss warns on the error stream
        self._lists.train(sample)
        self._lists.nprobe = min(self._num_probes, num_lists)
        self._centroids = torch.from_numpy(quantizer.reconstruct_n(0, num_lists)).to(self.table.keys.device).double()


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError:
        raise UserError(
            "The approximate index (method.bank.num_probes) needs faiss: pip install 'cmt-cli[faiss]'; "
            "method.bank.num_probes=null searches exactly."
        ) from None
    return faiss
