"""The autocast of mixed-precision training: a fit switches it on, the forward passes of a learner enter it.

Only forward passes: what is computed from their outputs, a penalty on parameters and the backward pass stay outside,
because a product of float32 tensors in a backward pass would otherwise be rounded as well.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

# Up to here a model is embedded (conf/size), and a step is so short that casting to bfloat16 takes what it saves.
MAX_EMBEDDED_PARAMETERS = 20_000_000
_FLAGS = ("avx512_bf16", "amx_bf16")  # of a CPU that multiplies bfloat16 in hardware, as Linux names them


@functools.cache
def cpu_bf16() -> tuple[str, ...]:
    """Return which instructions for bfloat16 the CPU has; none on systems without /proc/cpuinfo."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return tuple(flag for flag in _FLAGS if flag in flags)


def automatic_dtype(device: torch.device, num_parameters: int) -> torch.dtype:
    """Return what "auto" computes in: bfloat16 on CUDA, and on CPUs that have it for models that are not embedded."""
    if device.type == "cpu":
        is_faster = bool(cpu_bf16()) and num_parameters > MAX_EMBEDDED_PARAMETERS
        return torch.bfloat16 if is_faster else torch.float32
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def num_parameters(model: nn.Module) -> int:
    """Return how many weights a model has, tied ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def name_of(dtype: torch.dtype) -> str:
    """Return a number format as records name it, e.g. "bfloat16"."""
    return str(dtype).removeprefix("torch.")


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
