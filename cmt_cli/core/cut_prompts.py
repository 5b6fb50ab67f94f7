"""Prompts that do not fit into the model: a record of those that were cut, and the refusal to cut all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from cmt_cli.core.exceptions import UserError

MIN_PROMPT_TOKENS = 8  # of a prompt that is cut, without a start token; fewer hold no question

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


def refuse_no_room(max_new_tokens: int, room: int, max_tokens: int) -> None:
    """Raise UserError where `max_new_tokens` of the `room` for prompt and answer leave too few tokens for a prompt."""
    if room - max_new_tokens < MIN_PROMPT_TOKENS:
        taken = f", {max_tokens - room} of them for start, template and virtual tokens," if room < max_tokens else ""
        raise UserError(
            f"evaluator.decoding.max_new_tokens (or data.format.max_new_tokens, or the longest choice) takes "
            f"{max_new_tokens} tokens, and model.max_tokens={max_tokens}{taken} leaves no room for a prompt. Set it to "
            f"at most {max(room - MIN_PROMPT_TOKENS, 1)}, or choose a model with more positions."
        )
