"""Pseudo-examples: what a model writes behind the marker of a task that it has learned (LAMOL, arXiv 1909.03329).

For this the model is trained on marker, prompt, target, end token of each example as one plain text; only when it is
learned as a question again does a chat template stand around its prompt. A sample is taken apart
again at the separator with which every prompt ends. A sample is malformed where the separator does not occur, or more
often than in any prompt, or has no text on both sides, or where it did not end within the length of the longest text
learned; of a task of plain texts only an empty sample is malformed, and one that did not end is a text that goes on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from cmt_cli.core.batch import Row
from cmt_cli.core.decoding import continued, top_k_choice
from cmt_cli.core.device_memory import MemoryParts
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.prefix import model_inputs
from cmt_cli.core.setting_checks import not_negative, positive
from cmt_cli.core.stream import Example, Task
from cmt_cli.core.tokens import common_length

QUESTIONS, TEXTS = "questions", "texts"  # kinds of examples


@dataclass(frozen=True, slots=True)
class PseudoExample:
    """A generated example and the marker behind which it was written; `ended` tells whether the end token came."""

    marker: str
    prompt: str
    target: str
    ended: bool

    def rows(self, learner: Learner, name: str) -> list[Row]:
        """Return its rows, marked as replayed; a text that goes on has no end token."""
        rows = [replace(row, replayed=True) for row in learner.rows(Example(name, self.prompt, self.target))]
        if not self.ended:
            rows[-1] = replace(rows[-1], input_ids=rows[-1].input_ids[:-1])
        return rows

    def marked_row(self, learner: Learner, name: str) -> Row:
        """Return the row that teaches the model to write it."""
        row = replace(marked_row(learner, self.marker, Example(name, self.prompt, self.target)), replayed=True)
        if not self.ended and row.input_ids[-1] == learner.eos_id:
            row = replace(row, input_ids=row.input_ids[:-1])
        return row


@dataclass(frozen=True, slots=True)
class Learned:
    """What the model has learned to write behind a marker: kinds of examples, and where their prompts end.

    A prompt holds the separator `num_separators` times at most, the last time at its end.
    """

    marker: str
    kinds: tuple[str, ...]
    separator: str
    num_separators: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """How pseudo-examples are written.

    `ratio` counts them per new example. `marker` may hold {task}, the name of a task: then each past task gives an
    equal share; without it, one marker stands for all. Every prompt has to end with `separator`; None takes what all
    prompts of a task end with, from the first whole line on where there is one.
    """

    ratio: float
    top_k: int
    batch_size: int
    marker: str
    separator: str | None

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        not_negative(self.ratio, "method.generation.ratio")
        positive(self.top_k, "method.generation.top_k")
        positive(self.batch_size, "method.generation.batch_size")
        for name, text in (("marker", self.marker), ("separator", self.separator)):
            if text is not None and not text.strip():
                raise UserError(f"method.generation.{name}={text!r} is empty, but the model must recognize it.")

    def marker_of(self, task: Task) -> str:
        """Return the text behind which the examples of a task are written."""
        return self.marker.replace("{task}", task.name)

    def separator_of(self, examples: Sequence[Example], earlier: str | None = None) -> str:
        """Return the end of the prompts of some examples, "" where none has a prompt.

        `earlier` is that of other examples behind the same marker. Raises UserError where a prompt could not be told
        from its answer in a sample.
        """
        prompts = [example.prompt for example in examples if example.prompt]
        if not prompts:
            return earlier or ""
        seen = [*prompts, *([earlier] if earlier else [])]
        separator = self.separator if self.separator is not None else common_end(seen)
        for example in examples:
            ends_with_it = not example.prompt or example.prompt.endswith(separator)
            if not separator.strip() or not ends_with_it or (example.prompt and separator in example.target):
                raise UserError(
                    f"The prompt of '{example.id}' ends with {example.prompt[-20:]!r}. A generated example is split "
                    f"into prompt and answer behind method.generation.separator={separator!r}, so every prompt must "
                    "end with it and no answer hold it. Set the separator to what the stream's prompts end with."
                )
        return separator

    def parsed(self, text: str, *, ended: bool, learned: Learned) -> PseudoExample | None:
        """Return a sample as an example of one of the kinds that were learned, or None if malformed."""
        separator = learned.separator
        front, _, target = text.rpartition(separator) if separator else (text, "", "")
        found = text.count(separator) if separator else 0
        if QUESTIONS in learned.kinds and 1 <= found <= learned.num_separators:
            whole = ended and front.strip() and target.strip()
            return PseudoExample(learned.marker, front + separator, target, True) if whole else None
        if TEXTS in learned.kinds and text.strip() and not (QUESTIONS in learned.kinds and found):
            return PseudoExample(learned.marker, "", text, ended)
        return None


def common_end(texts: Sequence[str]) -> str:
    """Return the text with which all texts end, from its first line break on where it has one."""
    end = texts[0]
    for text in texts[1:]:
        pairs = zip(reversed(end), reversed(text), strict=False)
        length = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(end), len(text)))
        end = end[len(end) - length :]
    return end[max(end.find("\n"), 0) :]


def kinds_of(examples: Sequence[Example]) -> list[str]:
    """Return whether there are questions, texts without a prompt, or both."""
    return [kind for kind, has in ((QUESTIONS, True), (TEXTS, False)) if any(bool(e.prompt) is has for e in examples)]


def marked_row(learner: Learner, marker: str, example: Example) -> Row:
    """Return the row that teaches the model to write an example; one that is too long loses its end."""
    marker_ids = learner.encode(marker)
    whole = learner.encode(marker + example.prompt + example.target)
    shared = common_length(whole, marker_ids)
    front = learner.text_ids(marker)  # with a start token where the model has one
    front = front[: len(front) - len(marker_ids) + shared]
    ids = [*front, *whole[shared:], learner.eos_id][: learner.num_positions]
    return Row(example.id, tuple(ids), len(front))


@torch.no_grad()
def sampled_texts(
    learner: Learner, marker: str, seeds: Sequence[str], *, max_new_tokens: int, generation: Generation
) -> Iterator[tuple[str, bool]]:
    """Yield for each seed a text that the model writes behind the marker, and whether it ended.

    A text depends on its seed and not on the batch, which is halved where memory runs out.
    """
    marker_ids = learner.text_ids(marker)
    length = min(max_new_tokens, learner.num_positions - len(marker_ids))
    parts = MemoryParts()

    def written(chosen: Sequence[str]) -> list[tuple[str, bool]]:
        numbers = [random.Random(seed) for seed in chosen]
        uniforms = torch.tensor([[number.random() for _ in range(length)] for number in numbers], device=learner.device)
        ids = torch.tensor([marker_ids] * len(numbers), device=learner.device)
        source = learner.prefix_source
        prefix = source.prefix(ids, torch.ones_like(ids, dtype=torch.bool)) if source is not None else None
        with learner.precision():
            samples = continued(
                learner.model,
                model_inputs(learner.model, ids, torch.ones_like(ids), prefix),
                length,
                end_ids=learner.end_ids,
                choose=top_k_choice(uniforms, generation.top_k),
            )
        return [(learner.decode(tokens), len(tokens) < length) for tokens in samples]

    for start in range(0, len(seeds), generation.batch_size):
        for texts in parts.run(written, seeds[start : start + generation.batch_size]):
            yield from texts
