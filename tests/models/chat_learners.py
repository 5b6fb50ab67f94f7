"""Learners whose prompts are written by a chat template."""

from __future__ import annotations

from typing import Any

from cmt_cli.core.learner import Learner
from cmt_cli.models.chat import prompt_format
from tests.models.checkpoints import CHAT_TEMPLATE, TURN_TOKENS, byte_level_tokenizer


def tokenizer_with(template: str | None, *, adds_bos: bool = True) -> Any:
    """Return a tokenizer with a chat template and the tokens of its turns."""
    return byte_level_tokenizer(adds_bos=adds_bos, chat_template=template, turn_tokens=TURN_TOKENS)


def chat_learner(
    base: Learner, template: str = CHAT_TEMPLATE, *, system_text: str | None = None, max_tokens: int = 128
) -> Learner:
    """Return a learner around another one's model that writes prompts by a template."""
    tokenizer = tokenizer_with(template)
    written_as = prompt_format(
        tokenizer, chat_template="auto", system_text=system_text, name="tiny", max_tokens=max_tokens
    )
    return Learner(base.model, tokenizer, name="tiny", revision="test", max_tokens=max_tokens, prompt_format=written_as)
