"""The autocast of mixed-precision training: a fit switches it on, the forward passes of a learner enter it.

Only forward passes: what is computed from their outputs, a penalty on parameters and the backward pass stay outside,
because a product of float32 tensors in a backward pass would otherwise be rounded as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


class MixedPrecision:
    """The number format of forward passes over float32 weights; a learner and its copies share one."""

    def __init__(self) -> None:
        self._dtype: torch.dtype | None = None

    @contextlib.contextmanager
    def using(self, dtype: torch.dtype | None) -> Iterator[None]:
        """Let forward passes compute in `dtype`, or in the weights' own where it is None."""
        before, self._dtype = self._dtype, dtype
        try:
            yield
        finally:
            self._dtype = before

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[None]:
        """Return the context of a forward pass; it does nothing where no dtype is in use."""
        if self._dtype is None:
            return contextlib.nullcontext()
        # A cached cast would tie a second forward pass to the first one's graph, which its backward pass has freed.
        return torch.autocast(device.type, dtype=self._dtype, cache_enabled=False)
