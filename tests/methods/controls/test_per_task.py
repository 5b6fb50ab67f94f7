"""Which task's parts answer a question: the told one, or the one under which the question is likeliest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Prompt
from cmt_cli.methods.controls.per_task import PerTaskPredictor, text_nll

GREEDY = Decoding(max_new_tokens=3, batch_size=8, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
TEXTS = ("Where was the bridge opened?", "Who won?", "When did the mayor of Turin resign?")


class Weights:
    """Two or more sets of output weights, one for each task, and which were used for what."""

    def __init__(self, learner: Learner, num_tasks: int) -> None:
        self._weight = learner.model.get_output_embeddings().weight
        generator = torch.Generator().manual_seed(0)
        self.values = [torch.randn(self._weight.shape, generator=generator) for _ in range(num_tasks)]

    @contextmanager
    def select(self, task: int) -> Iterator[None]:
        own, self._weight.data = self._weight.data, self.values[task]
        try:
            yield
        finally:
            self._weight.data = own


def test_told_tasks_answer_with_their_own_parts(tiny_llama: Learner) -> None:
    weights = Weights(tiny_llama, 2)
    predictor = PerTaskPredictor(tiny_llama, weights.select, num_tasks=2)
    answers = predictor.generate([Prompt(str(t), TEXTS[0], task=t) for t in (1, 0, 4)], GREEDY)
    expected = []
    for task in (1, 0, 1):
        with weights.select(task):
            expected += tiny_llama.generate([Prompt("q", TEXTS[0])], GREEDY)
    assert answers == expected
    assert answers[0] != answers[1]


def test_untold_questions_go_to_their_likeliest_task(tiny_llama: Learner) -> None:
    weights = Weights(tiny_llama, 3)
    losses = []
    for task in range(3):
        with weights.select(task):
            losses.append(text_nll(tiny_llama, TEXTS))
    best = torch.stack(losses).argmin(dim=0).tolist()
    targets = [" in 2019", " Turin", " no"]
    expected = []
    for text, target, task in zip(TEXTS, targets, best, strict=True):
        with weights.select(task):
            expected += tiny_llama.loglikelihood([Prompt("q", text)], [target])
    predictor = PerTaskPredictor(tiny_llama, weights.select, num_tasks=3)
    found = predictor.loglikelihood([Prompt(text, text) for text in TEXTS], targets)
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_nll_averages_all_tokens_but_the_first(any_learner: Learner) -> None:
    ids = torch.tensor([any_learner.prompt_ids(TEXTS[2])], device=any_learner.device)
    loss = any_learner.model(input_ids=ids, labels=ids).loss
    assert text_nll(any_learner, TEXTS)[2].item() == pytest.approx(loss.item(), rel=1e-5)
