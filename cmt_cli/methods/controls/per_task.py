"""Answering with the parts that belong to a question's task: its own adapter, prompt or weights.

The task is the one that the stream tells, or the newest one learned where that comes later. Where the stream does not
tell, it is the task under which the question itself has the lowest perplexity (AdapterCL, Madotto et al. 2021, arXiv
2012.15504), the earliest of equals; that takes one forward pass over the question per task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Predictor, Row
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.learner import SCORING_TOKENS, Learner
from cmt_cli.core.stream import Answer, Prompt
from cmt_cli.core.tokens import length_batches

Select = Callable[[int], AbstractContextManager[None]]


class PerTaskPredictor(Predictor):
    """Groups prompts by task and answers each group inside `select(task)`."""

    def __init__(self, learner: Learner, select: Select, num_tasks: int) -> None:
        """`select` puts the parts of a task in place for a block; tasks 0 to `num_tasks` - 1 have been learned."""
        self._learner = learner
        self._select = select
        self._num_tasks = num_tasks

    @override
    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
        """Answer each prompt with its task's parts."""
        answers = [Answer("")] * len(prompts)
        for task, members in self._groups(prompts).items():
            with self._select(task):
                found = self._learner.generate([prompts[i] for i in members], decoding)
            for i, answer in zip(members, found, strict=True):
                answers[i] = answer
        return answers

    @override
    def loglikelihood(self, prompts: Sequence[Prompt], targets: Sequence[str]) -> list[float]:
        scores = [0.0] * len(prompts)
        for task, members in self._groups(prompts).items():
            with self._select(task):
                found = self._learner.loglikelihood([prompts[i] for i in members], [targets[i] for i in members])
            for i, score in zip(members, found, strict=True):
                scores[i] = score
        return scores

    def _groups(self, prompts: Sequence[Prompt]) -> dict[int, list[int]]:
        """Return the indices of the prompts of each task."""
        untold = {prompt.text for prompt in prompts if prompt.task is None}
        likeliest = self._likeliest(sorted(untold)) if untold else {}
        groups: dict[int, list[int]] = {}
        for i, prompt in enumerate(prompts):
            task = likeliest[prompt.text] if prompt.task is None else min(prompt.task, self._num_tasks - 1)
            groups.setdefault(task, []).append(i)
        return groups

    def _likeliest(self, texts: Sequence[str]) -> dict[str, int]:
        if self._num_tasks == 1:
            return dict.fromkeys(texts, 0)
        losses = []
        for task in range(self._num_tasks):
            with self._select(task):
                losses.append(text_nll(self._learner, texts))
        return dict(zip(texts, torch.stack(losses).argmin(dim=0).tolist(), strict=True))


@torch.no_grad()
def text_nll(learner: Learner, texts: Sequence[str]) -> Tensor:
    """Return the mean nll in nats per token of each text, `[texts]`; a start token or a template is only read."""
    rows = [_question_row(learner, str(i), text) for i, text in enumerate(texts)]
    found = torch.zeros(len(rows), dtype=torch.float64)
    for chosen in length_batches([len(row.input_ids) for row in rows], max_tokens=SCORING_TOKENS):
        nll = learner.forward(learner.collate([rows[i] for i in chosen])).token_nll
        sums = nll.double().sum(dim=1).cpu()
        found[chosen] = sums / torch.tensor([_num_scored(rows[i]) for i in chosen])
    return found


def _question_row(learner: Learner, name: str, text: str) -> Row:
    ids, num_in_front = learner.question_ids(text)
    return Row(name, tuple(ids), num_in_front)


def _num_scored(row: Row) -> int:
    return max(len(row.input_ids) - row.num_prompt_tokens, 1)
