"""What an out-of-memory error looks like on each device, and how work is repeated in smaller parts after one."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from cmt_cli.core.exceptions import UserError, counted

Item = TypeVar("Item")
Result = TypeVar("Result")

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


class MemoryParts:
    """Runs work on parts of a batch that are halved where memory runs out; remembers the size that fits."""

    def __init__(self) -> None:
        self._largest: int | None = None

    def run(
        self, work: Callable[[Sequence[Item]], Result], items: Sequence[Item], *, in_step: bool = False
    ) -> Iterator[Result]:
        """Yield what `work` returns for `items`, or for parts of them in order.

        `work` is repeated on a smaller part and must not have changed anything when it fails. Raises UserError where a
        single item is too large, and where ranks run in step (`in_step`), because one cannot repeat a pass alone.
        """
        start = 0
        while start < len(items):
            part = items[start:] if self._largest is None else items[start : start + self._largest]
            results, failure = _attempt(work, part)
            if failure is None:
                yield results[0]
                start += len(part)
                continue
            free_memory()  # outside the handler, whose traceback would hold what the failed pass allocated
            if len(part) == 1 or in_step:
                raise UserError(
                    f"Memory ran out on {counted(len(part), 'sequence')} at once, which cannot be cut further "
                    f"({failure}). Lower model.max_tokens or the batch sizes, load the model in bf16 or 4 bit, take a "
                    "smaller model or use a larger device."
                )
            self._largest = len(part) // 2


def _attempt(work: Callable[[Sequence[Item]], Result], part: Sequence[Item]) -> tuple[list[Result], str | None]:
    try:
        return [work(part)], None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return [], str(error).partition("\n")[0]
