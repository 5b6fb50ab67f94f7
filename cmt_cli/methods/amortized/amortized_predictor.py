"""Answers of an adapted model: each question recalls a memory, which an injection puts before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Predictor
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.device_memory import MemoryParts
from cmt_cli.core.learner import Learner
from cmt_cli.core.prefix import Prefix
from cmt_cli.core.stream import Answer, Prompt
from cmt_cli.methods.amortized.amortizer import Amortizer

Documents = tuple[tuple[str, float], ...]
Recall = Callable[[Tensor, Sequence[Prompt]], tuple[Tensor | None, list[Documents]]]


class AmortizedPredictor(Predictor):
    """Answer from a memory bank: encode the questions, recall one memory each, decode behind it."""

    def __init__(
        self,
        learner: Learner,
        amortizer: Amortizer,
        recall: Recall,
        reading: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`recall` maps question states `[batch, slots, width]` to memories of the same shape (None: nothing stored).

        The language model answers inside the context `reading()`, in which a method may switch on layers of its own.
        """
        self.learner, self.amortizer, self.recall, self.reading = learner, amortizer, recall, reading

    @override
    @torch.no_grad()
    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
        """Answer each prompt; the answers name the documents used."""
        prefix, documents = self._prefix(prompts, decoding.batch_size)
        with self.reading():
            answers = self.learner.generate(prompts, decoding, prefix)
        return [replace(answer, documents=used) for answer, used in zip(answers, documents, strict=True)]

    @override
    @torch.no_grad()
    def loglikelihood(self, prompts: Sequence[Prompt], targets: Sequence[str]) -> list[float]:
        """Return log p(target | prompt) behind the recalled memories."""
        prefix, _ = self._prefix(prompts, len(prompts))
        with self.reading():
            return self.learner.loglikelihood(prompts, targets, prefix)

    def _prefix(self, prompts: Sequence[Prompt], batch_size: int) -> tuple[Prefix | None, list[Documents]]:
        encoder = self.amortizer.question_compressor
        tokens = [encoder.segments(prompt.text)[-1] for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda i: len(tokens[i]))
        memories: list[Tensor] = [torch.empty(0)] * len(prompts)
        documents: list[Documents] = [()] * len(prompts)

        def recalled(chosen: Sequence[int]) -> tuple[Sequence[int], Tensor | None, list[Documents]]:
            states = self.amortizer.encode_questions([tokens[i] for i in chosen])
            return chosen, *self.recall(states, [prompts[i] for i in chosen])

        parts, in_step = MemoryParts(), self.learner.processes.is_sharded
        for start in range(0, len(order), batch_size):
            for chosen, memory, used in parts.run(recalled, order[start : start + batch_size], in_step=in_step):
                if memory is None:
                    return None, documents
                for i, one, names in zip(chosen, memory, used, strict=True):
                    memories[i], documents[i] = one, names
        return self.amortizer.injection(torch.stack(memories)), documents
