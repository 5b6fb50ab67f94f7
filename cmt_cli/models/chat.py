"""The prompt format of a tokenizer's chat template: every prompt is one user turn, every answer the assistant's.

The template is rendered by transformers (`apply_chat_template`, in a sandbox) for texts of a known wording. Where these
stand in what it writes gives the text in front of, between and behind a prompt and its answer; the rest of an assistant
turn's beginning that a generation prompt leaves out (an empty thought, a channel) is read with the prompt. Only the
first special token behind an answer ends it: what a template writes after that is no part of the answer.
A template that writes the day's date is given a fixed one, so that a run reads the same prompts on every day.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.prompt_format import MIN_PROMPT_TOKENS, PromptFormat
from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.tokens import common_length

NONE, AUTO = "none", "auto"
TODAY = datetime.date(2024, 7, 26)  # the day that Llama 3.1's template names by default
PROMPT, ANSWER = "a question qwzx", "an answer qwzx"  # texts that no template holds
AROUND = " \n", " <b>&amp;</b> {{ 'x' }}\n\n\"y\" \n"  # what a template may strip, escape or rewrite
AS_WRITTEN: tuple[Callable[[str], str], ...] = (str, str.strip, str.lstrip, str.rstrip)
ADVICE = "Set model.chat_template=none, or mend the template in the model's folder."

# A definition of the function that templates get the date from; the line break behind a block is no output.
_FIXED_DATE = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('%{code}', '{TODAY.strftime(f'%{code}')}')" for code in "aAbBdmyYjHMS")
    + " }}{% endmacro %}\n"
)

Messages = list[dict[str, str]]


def prompt_format(
    tokenizer: Any, *, chat_template: str, system_text: str | None, name: str, max_tokens: int
) -> PromptFormat | None:
    """Return the format that `model.chat_template` names, None for plain text.

    `name` is the model's, for messages. Raises UserError where the tokenizer has no template, or one in which
    the prompt, the answer or the system text cannot be found as they are.
    """
    check_settings(chat_template, system_text)
    if chat_template == NONE:
        return None
    template = _Template(tokenizer, name, system_text)
    found = template.format()
    if found.num_fixed + MIN_PROMPT_TOKENS >= max_tokens:
        raise UserError(
            f"The chat template of '{name}' takes {counted(found.num_fixed, 'token')} of every prompt, its system text "
            f"included, and model.max_tokens={max_tokens} leaves no room for the prompt. Raise model.max_tokens, or "
            "shorten model.system_text."
        )
    return found


def check_settings(chat_template: str, system_text: str | None) -> None:
    """Raise UserError for a name that is none, and for a system text that no template would write."""
    if one_of(chat_template, (AUTO, NONE), "model.chat_template") == NONE and system_text is not None:
        raise UserError(
            "model.system_text is written by a chat template, and model.chat_template=none: the text would not be "
            "read. Set model.chat_template=auto, or model.system_text=null."
        )


class _Template:
    """A tokenizer's chat template with a system text."""

    def __init__(self, tokenizer: Any, name: str, system_text: str | None) -> None:
        """Raise UserError where the tokenizer has no template."""
        self._tokenizer, self._name, self._system_text = tokenizer, name, system_text
        try:
            self._source = str(tokenizer.get_chat_template())
        except ValueError as error:
            raise UserError(
                f"model.chat_template=auto, but the tokenizer of '{name}' has no chat template: it is a base model's, "
                "or the file chat_template.jinja is missing. Set model.chat_template=none."
            ) from error

    def format(self) -> PromptFormat:
        """Return the format; raise UserError where a text does not stand in the template's as it is."""
        system = [{"role": "system", "content": self._system_text}] if self._system_text is not None else []
        self._check_system(system)
        question = [*system, {"role": "user", "content": PROMPT}]
        opened = self._rendered(question)
        head, behind = self._parted(opened, PROMPT, "prompt")
        answered = self._rendered([*question, {"role": "assistant", "content": ANSWER}])
        front, closing = self._parted(answered, ANSWER, "answer")
        if not front.startswith(opened):
            raise self._refusal(
                f"opens an answer with {behind[-30:]!r} and has {front[-30:]!r} in front of one that is given (models "
                "that think first have such a template)"
            )
        tail, end = front[len(head) + len(PROMPT) :], self._end(closing)
        padded = PROMPT.join(AROUND)
        prompt_text = self._as_written(
            padded, self._rendered([*system, {"role": "user", "content": padded}]), (head, behind), "prompt"
        )
        padded = ANSWER.join(AROUND)
        given = self._rendered([*question, {"role": "assistant", "content": padded}])
        answer_text = self._as_written(padded, given, (front, closing), "answer")
        head_ids, tail_ids = self._around(head, tail)
        return PromptFormat(
            head=head,
            tail=tail,
            end=end,
            end_ids=tuple(self._encoded(front + ANSWER + end)[-1:] if end else ()),
            head_ids=head_ids,
            tail_ids=tail_ids,
            prompt_text=prompt_text,
            answer_text=OPENING[answer_text],
            record={
                "sha256": hashlib.sha256(self._source.encode()).hexdigest(),
                "system_text": self._system_text,
                "form": f"{head}{{prompt}}{tail}{{answer}}{end}",
            },
        )

    def _check_system(self, system: Messages) -> None:
        if not system:
            return
        text, question = system[0]["content"], {"role": "user", "content": PROMPT}
        self._rendered([question])
        try:
            found = self._written([*system, question])
        except TemplateError as error:
            raise self._no_system_turn(f" ({error})") from error
        if text.strip() not in found:
            raise self._no_system_turn("")

    def _no_system_turn(self, reason: str) -> UserError:
        return UserError(
            f"model.system_text is set, but the chat template of '{self._name}' does not write a system turn{reason}. "
            "Set model.system_text=null, or put the text into the stream's prompt templates."
        )

    def _end(self, closing: str) -> str:
        """Return what closes an answer: up to the first special token, "" where there is none."""
        known = [token.content for token in self._tokenizer.added_tokens_decoder.values() if token.content.strip()]
        places = [(closing.index(token), -len(token)) for token in known if token in closing]
        if not places:
            return ""
        start, length = min(places)
        return closing[: start - length]

    def _as_written(self, text: str, rendered: str, around: tuple[str, str], what: str) -> Callable[[str], str]:
        """Return how a text is written: as it is, or stripped."""
        for written in AS_WRITTEN:
            if rendered == f"{around[0]}{written(text)}{around[1]}":
                return written
        raise self._refusal(f"changes the text of the {what}")

    def _parted(self, rendered: str, text: str, what: str) -> tuple[str, str]:
        if rendered.count(text) != 1:
            raise self._refusal(f"writes the {what} {rendered.count(text)} times")
        front, _, behind = rendered.partition(text)
        return front, behind

    def _rendered(self, messages: Messages) -> str:
        try:
            return self._written(messages)
        except (TemplateError, TypeError, ValueError) as error:
            raise self._refusal(f"stops with {type(error).__name__} ({error})") from error

    def _written(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return the conversation as text; behind a user turn, with the opening of the answer."""
        return str(
            self._tokenizer.apply_chat_template(
                list(messages),
                tokenize=False,
                add_generation_prompt=messages[-1]["role"] == "user",
                chat_template=_FIXED_DATE + self._source,
            )
        )

    def _around(self, head: str, tail: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the tokens in front of and behind a prompt; a space may belong to its first word instead."""
        whole, front, behind = (self._encoded(text) for text in (head + PROMPT + tail, head, tail))
        num_behind = common_length(whole[::-1], behind[::-1])
        return tuple(front[: common_length(whole, front)]), tuple(behind[len(behind) - num_behind :])

    def _encoded(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _refusal(self, reason: str) -> UserError:
        return UserError(f"model.chat_template=auto, but the chat template of '{self._name}' {reason}. {ADVICE}")


def _opened(text: str) -> str:
    """Return an answer without the space that separates it from a prompt of plain text: a turn begins with a word."""
    return text.removeprefix(" ")


def _opened_rstrip(text: str) -> str:
    return _opened(text).rstrip()


OPENING: dict[Callable[[str], str], Callable[[str], str]] = {
    str: _opened,
    str.strip: str.strip,
    str.lstrip: str.lstrip,
    str.rstrip: _opened_rstrip,
}
