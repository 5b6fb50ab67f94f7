"""Which prompts were cut because they were longer than the model, for whoever evaluates inside `collected`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_COLLECTED: ContextVar[set[str] | None] = ContextVar("ids of cut prompts", default=None)


@contextmanager
def collected() -> Iterator[set[str]]:
    """Collect the ids of the prompts that are cut inside, however many predictors wrap the learner that cuts them."""
    ids: set[str] = set()
    token = _COLLECTED.set(ids)
    try:
        yield ids
    finally:
        _COLLECTED.reset(token)


def note(prompt_id: str) -> None:
    """Add a prompt to the innermost collection, if there is one."""
    ids = _COLLECTED.get()
    if ids is not None:
        ids.add(prompt_id)
