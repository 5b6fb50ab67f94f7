"""A classifier over texts' features that grows by rows as labels appear; rows for labels to come may exist in advance.

    linear  z_c = w_c . x + b_c          cosine  z_c = w_c . x / (|w_c| |x|)

Each task's new labels have a parameter of their own, so that the rows of older tasks can be frozen. All entries start
uniform within 1 / sqrt(hidden), the choice of torch's linear layer and of Zheng et al. 2024 (arXiv 2312.07887).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override


class LabelHead(nn.Module):
    """Rows for labels, one block of rows per growth, and the reserved rows."""

    def __init__(self, hidden_size: int, *, is_cosine: bool, num_reserved: int, seed: int) -> None:
        super().__init__()
        self._is_cosine = is_cosine
        self._bound = hidden_size**-0.5
        self._width = hidden_size + (not is_cosine)  # the last column is the bias
        self._seed = seed
        self.growths: list[list[str]] = []  # the labels of each block of rows
        self.rows = nn.ParameterList()
        self.reserved = nn.Parameter(self._drawn(num_reserved, "reserved"), requires_grad=False)

    @property
    def labels(self) -> list[str]:
        """Return the labels that have rows, in the rows' order."""
        return [label for labels in self.growths for label in labels]

    def grow(self, labels: Sequence[str], device: torch.device) -> None:
        """Give new labels the first of the reserved rows, and fresh ones when these are used up."""
        taken, kept = self.reserved.detach().split([n := min(len(labels), len(self.reserved)), len(self.reserved) - n])
        fresh = self._drawn(len(labels) - n, len(self.growths)).to(device)
        self.growths.append(list(labels))
        self.rows.append(nn.Parameter(torch.cat([taken.to(device), fresh]), requires_grad=False))
        self.reserved = nn.Parameter(kept.to(device, copy=True), requires_grad=False)

    def shrink(self) -> None:
        """Drop the newest labels; their reserved rows come back, with the values they have."""
        rows = self.rows[-1].detach()
        self.growths.pop()
        self.rows = nn.ParameterList(list(self.rows)[:-1])
        self.reserved = nn.Parameter(torch.cat([rows, self.reserved.detach()]), requires_grad=False)

    @override
    def forward(self, features: Tensor, *, with_reserved: bool) -> Tensor:
        """Return logits `[batch, rows]` of features `[batch, hidden]`, the reserved rows last, in float32."""
        with torch.autocast(features.device.type, enabled=False):
            weight = torch.cat([*self.rows, *([self.reserved] if with_reserved else [])])
            features = features.float()
            if self._is_cosine:
                return F.normalize(features, dim=-1) @ F.normalize(weight, dim=-1).T
            return F.linear(features, weight[:, :-1], weight[:, -1])

    def _drawn(self, num_rows: int, purpose: str | int) -> Tensor:
        offset = 0 if purpose == "reserved" else 1 + int(purpose)
        generator = torch.Generator().manual_seed(self._seed + offset)
        return (torch.rand(num_rows, self._width, generator=generator) * 2 - 1) * self._bound
