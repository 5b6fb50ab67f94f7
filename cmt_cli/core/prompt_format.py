"""How a prompt and its answer are written, as text and as tokens: plain text, or the turns of a chat template.

    head prompt tail answer end

Plain text has no head, tail or end: a start token stands in front where the tokenizer adds one, the end token behind.
With a template head, tail and end are what it writes around the two turns, its own start token included. Whatever
reads a prompt (training rows, answers, choices, classifiers) has its tokens from here. Of a prompt that does not fit
into the model the middle of its own text is left out; such prompts are noted, and none is cut to a few tokens.
Running text, which harnesses of general tasks ask, follows their conventions instead (`RunningText`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.tokens import common_length, cut_middle, split_prompt, start_ids

MIN_PROMPT_TOKENS = 8  # of a prompt that is cut, without a start token; fewer hold no question

Encode = Callable[[str], list[int]]  # text to tokens, without special ones

_CUT: ContextVar[set[str] | None] = ContextVar("ids of cut prompts", default=None)


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """A prompt in tokens: what stands in front of the text, the text, and what stands behind it.

    `rest` are the last tokens of the prompt that its answers do not share, which are not read. `answers` are what
    follows for each target, end of the answer included.
    """

    head: list[int]
    text: list[int]
    tail: list[int]
    rest: list[int]
    answers: list[list[int]]

    def __len__(self) -> int:
        """Return the number of tokens that are read."""
        return self.num_fixed + len(self.text)

    @property
    def num_fixed(self) -> int:
        """Return the number of tokens that are never cut."""
        return len(self.head) + len(self.tail)

    def cut(self, max_tokens: int) -> list[int]:
        """Return the tokens that are read, without the middle of the text where there are more than `max_tokens`."""
        return cut_middle(self.head, self.text, max_tokens, self.tail)


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """What is written around a prompt and its answer; see the module's first lines.

    `end_ids` holds the last token of `end`; where both are empty, the model's end token closes an answer.
    `head_ids` and `tail_ids` are the tokens of head and tail which no text of a usual prompt changes.
    `prompt_text` and `answer_text` return a text as it stands between the others. `record` is what a run's record
    says of the template, None for plain text.
    """

    start_ids: tuple[int, ...] = ()  # in front of `head`, which has its own where there is a template
    head: str = ""
    tail: str = ""
    end: str = ""
    end_ids: tuple[int, ...] = ()
    head_ids: tuple[int, ...] = ()
    tail_ids: tuple[int, ...] = ()
    prompt_text: Callable[[str], str] = str
    answer_text: Callable[[str], str] = str
    record: Mapping[str, Any] | None = None

    @property
    def num_fixed(self) -> int:
        """Return the tokens of every prompt that are not of its text."""
        return len(self.start_ids) + len(self.head_ids) + len(self.tail_ids)

    @property
    def is_plain(self) -> bool:
        """Return whether nothing is written around prompts and answers."""
        return not (self.head or self.tail or self.end)

    def prompt(self, text: str) -> str:
        """Return a prompt as it is written up to the answer."""
        return f"{self.head}{self.prompt_text(text)}{self.tail}"

    def answer(self, text: str) -> str:
        """Return an answer as it is written, with its end."""
        return f"{self.answer_text(text)}{self.end}"

    def tokens(
        self, encode: Encode, text: str, targets: Sequence[str] = (), choices: Sequence[str] = (), *, eos_id: int
    ) -> PromptTokens:
        """Tokenize a prompt together with each of its targets and choices, and split it once for all of them."""
        answers, others = ([self.answer(text) for text in texts] for texts in (targets, choices))
        read, rest, tails = split_prompt(encode, self.prompt(text), answers, others)
        # Tokens that lie across a border belong to the text: of it, both ends are kept where it is cut.
        num_head = common_length(read, self.head_ids)
        num_tail = common_length([*read, *rest][::-1], self.tail_ids[::-1])
        stop = max(num_head, min(len(read), len(read) + len(rest) - num_tail))
        closing = [] if self.end else [eos_id]
        return PromptTokens(
            head=[*self.start_ids, *read[:num_head]],
            text=read[num_head:stop],
            tail=read[stop:],
            rest=rest,
            answers=[[*tail, *closing] for tail in tails],
        )

    def facts(self) -> dict[str, Any]:
        """Return all that decides the tokens of a prompt besides the tokenizer, as JSON values."""
        texts = [self.head, self.tail, self.end, self.prompt_text.__name__, self.answer_text.__name__]
        return {"texts": texts, "ids": [*self.start_ids, *self.end_ids]}


def plain_text(tokenizer: Any) -> PromptFormat:
    """Return the format of running text, in front of which a start token stands where the tokenizer adds one."""
    return PromptFormat(start_ids=tuple(start_ids(tokenizer)))


@dataclass(frozen=True, slots=True)
class RunningText:
    """Texts and their targets in tokens by the conventions of lm-evaluation-harness.

    A text stands as it is behind `start_ids`; its target is what the tokens of both together have beyond the number of
    the text's own, and no end token closes it. What is too long loses its beginning. A target without a text is read
    behind `first_id`, and where it is longer than the model in windows: each token is scored once, the last window is
    full. Unlike the harness's own model, a sequence has at most `max_tokens` with its last token, which is not read.
    """

    encode: Encode
    start_ids: tuple[int, ...]
    first_id: int

    @classmethod
    def of(cls, encode: Encode, tokenizer: Any) -> RunningText:
        """Return the form of a tokenizer; its start token is read first, or the end token where it has none."""
        bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        return cls(encode, tuple(start_ids(tokenizer)), int(eos if bos is None else bos))

    def prompt(self, text: str) -> list[int]:
        """Return the tokens of a text that is to be continued."""
        return [*self.start_ids, *self.encode(text)] or [self.first_id]

    def pieces(self, id: str, text: str, target: str, max_tokens: int) -> list[tuple[list[int], int]]:
        """Return the sequences that score a target, one where there is a text, and how many tokens are only read.

        Notes a text that is cut; raises UserError for a target that adds no token to it.
        """
        if not text:
            return self._windows(self.encode(target), max_tokens)
        read = self.prompt(text)
        tail = self.prompt(text + target)[len(read) :]
        if not tail:
            raise UserError(
                f"The target {target!r} of '{id}' adds no token to its text, which ends with {text[-40:]!r}: it cannot "
                "be scored. A target begins with the white space that stands between the two."
            )
        if len(read) + len(tail) > max_tokens:
            note_cut(id)
        ids = [*read, *tail][-max_tokens:]
        return [(ids, max(len(ids) - len(tail), 1))]

    def _windows(self, ids: list[int], max_tokens: int) -> list[tuple[list[int], int]]:
        most = max_tokens - 1
        found = [([self.first_id, *ids[:most]], 1)]
        for start in range(most, len(ids), most):
            end = min(start + most, len(ids))
            window = ids[end - most - 1 : end]
            found.append((window, len(window) - (end - start)))
        return found


@contextmanager
def collected_cuts() -> Iterator[set[str]]:
    """Collect the ids of the prompts that are cut inside, however many predictors wrap the learner that cuts them."""
    ids: set[str] = set()
    token = _CUT.set(ids)
    try:
        yield ids
    finally:
        _CUT.reset(token)


def note_cut(prompt_id: str) -> None:
    """Add a prompt to the innermost collection, if there is one."""
    ids = _CUT.get()
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
