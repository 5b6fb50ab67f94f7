"""Keys of a bank on one device: a contiguous matrix that grows by doubling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


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
