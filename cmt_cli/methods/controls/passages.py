"""Stored texts, and answers with passages of them in front of the question: what `full_context` and `bm25` share.

A context that does not fit is cut at its end, so passages come best first and the question is never cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from typing_extensions import override

from cmt_cli.core.batch import Predictor
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import Fit, State
from cmt_cli.core.stream import Answer, Episodes, Prompt, Task
from cmt_cli.core.tokens import longest_answers


@dataclass(frozen=True, slots=True)
class Passage:
    """A text to read and its share among the passages of one question."""

    document_id: str
    text: str
    weight: float


Retrieve = Callable[[Prompt], Sequence[Passage]]


class StoredTexts(Method):
    """Keeps every document as text and trains nothing."""

    needs_documents = True
    answers_with = "texts that it keeps and puts in front of each question"

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}  # by document id

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Leave the weights frozen."""

    @override
    def learn(self, learner: Learner, task: Task, fit: Fit) -> None:
        """Keep the task's documents; a document with a known id replaces the old text."""
        self._texts |= {document.id: document.text for document in task.documents}

    @override
    def state_dict(self) -> State:
        return {"texts": dict(self._texts)}

    @override
    def load_state_dict(self, state: State) -> None:
        self._texts = dict(state["texts"])

    @override
    def storage_bytes(self) -> int:
        """Return the bytes of all texts in UTF-8."""
        return sum(len(text.encode()) for text in self._texts.values())


class PassagePredictor(Predictor):
    """Puts the passages that `retrieve` returns, best first, in front of each prompt; without any it stays as it is."""

    def __init__(self, learner: Learner, template: str, retrieve: Retrieve) -> None:
        """`template` holds {document} and {prompt}."""
        self._learner = learner
        self._template = template
        self._retrieve = retrieve

    @override
    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
        """Answer each prompt; the answers name the documents read."""
        passages = [self._retrieve(prompt) for prompt in prompts]
        reserves = longest_answers(
            self._learner.encode_answer, [prompt.choices for prompt in prompts], [""] * len(prompts)
        )
        rooms = [self._learner.max_tokens - max(reserve, decoding.max_new_tokens) for reserve in reserves]
        extended = [self._extended(*triple) for triple in zip(prompts, passages, rooms, strict=True)]
        answers = self._learner.generate(extended, decoding)
        return [replace(a, documents=_documents(read)) for a, read in zip(answers, passages, strict=True)]

    @override
    def loglikelihood(self, prompts: Sequence[Prompt], targets: Sequence[str]) -> list[float]:
        """Return log p(target | passages, prompt) in nats, summed over the target's tokens and the end token."""
        # Room for the longest choice, so that all choices of a question are read behind the same passages.
        reserves = longest_answers(self._learner.encode_answer, [prompt.choices for prompt in prompts], targets)
        pairs = list(zip(prompts, reserves, strict=True))
        extended = {
            (prompt, reserve): self._extended(prompt, self._retrieve(prompt), self._learner.max_tokens - reserve)
            for prompt, reserve in dict.fromkeys(pairs)
        }
        return self._learner.loglikelihood([extended[pair] for pair in pairs], targets)

    def _extended(self, prompt: Prompt, passages: Sequence[Passage], room: int) -> Prompt:
        if not passages:
            return prompt
        context = "\n".join(passage.text for passage in passages)
        return replace(prompt, text=fitted(self._learner, self._template, context, prompt.text, room=room))


def fitted(learner: Learner, template: str, context: str, prompt: str, *, room: int) -> str:
    """Return the filled template, its context cut at the end until all of it takes at most `room` tokens."""
    text = template.format(document=context, prompt=prompt)
    kept = learner.encode(context)
    while kept and (excess := learner.prompt_length(text) - room) > 0:
        kept = kept[: max(0, len(kept) - excess)]
        text = template.format(document=learner.decode(kept), prompt=prompt)
    return text


def check_template(template: str) -> str:
    """Return a context template, or raise UserError unless it holds {document} and {prompt} and no other field."""
    try:
        filled = template.format(document="<document>", prompt="<prompt>")
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(f"context_template={template!r} has a field other than {{document}} and {{prompt}}.") from error
    if "<document>" not in filled or "<prompt>" not in filled:
        raise UserError(f"context_template={template!r} must hold {{document}} and {{prompt}}.")
    return template


def _documents(passages: Sequence[Passage]) -> tuple[tuple[str, float], ...]:
    weights: dict[str, float] = {}
    for passage in passages:
        weights[passage.document_id] = weights.get(passage.document_id, 0.0) + passage.weight
    return tuple(sorted(weights.items(), key=lambda pair: -pair[1]))
