"""What an out-of-memory error looks like on each device, and how to give memory back before a second try."""

from __future__ import annotations

import gc

import torch

_MESSAGES = ("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory", "alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that memory ran out; CPU and MPS raise a plain RuntimeError with a message."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error).lower() for part in _MESSAGES)


def free_memory() -> None:
    """Drop unreachable tensors and return cached blocks to the device."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
