"""AdapterCL: each task's adapter is trained alone from the base model, and a question finds the one that knows it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Example, Prompt, Task
from cmt_cli.layers.bottleneck import Bottleneck
from cmt_cli.methods.architecture.adapters import Adapters, as_text
from cmt_cli.methods.sequential.finetune import FineTune
from tests.methods.task_sequences import TASKS, assert_survives_a_kill, learn, logits, same, started

BLOCKS = Bottleneck(width=4, places=["block"], layer_norm=True, seed=0)
HOULSBY = Bottleneck(width=4, places=["attention", "mlp"], layer_norm=False, seed=0)


def adapters(trainable: Bottleneck = BLOCKS, *, learns_questions: bool = True) -> Adapters:
    return Adapters(trainable=trainable, learns_questions=learns_questions)


@pytest.mark.parametrize("trainable", [BLOCKS, HOULSBY], ids=["block", "attention+mlp"])
def test_a_tasks_adapter_equals_training_one_alone(
    make_learner: Callable[[str], Learner], trainable: Bottleneck
) -> None:
    learner = make_learner("llama")
    method = started(learner, adapters(trainable, learns_questions=False))
    for task in TASKS:
        learn(learner, method, task)
        alone = make_learner("llama")
        learn(alone, started(alone, FineTune(trainable=trainable)), task)
        assert same(learner.state_dict(), alone.state_dict())


def test_a_new_adapter_preserves_logits_and_trains_alone(any_learner: Learner) -> None:
    base = logits(any_learner)
    weights = {name: p.clone() for name, p in any_learner.model.named_parameters()}
    method = started(any_learner, adapters())
    for task in TASKS:
        method.before_task(any_learner, task)
        assert torch.equal(logits(any_learner), base)
        learn(any_learner, method, task)
        assert not torch.equal(logits(any_learner), base)
    left = dict(any_learner.model.named_parameters())
    assert all(torch.equal(left[name], value) for name, value in weights.items())


def test_questions_are_learned_with_their_answers(make_learner: Callable[[str], Learner]) -> None:
    question = Example("a", "Where does Ada work?", " Oslo", references=("Oslo",))
    assert as_text(question) == Example("a", "", "Where does Ada work? Oslo", references=("Oslo",))
    learners = [make_learner("gpt2"), make_learner("gpt2")]
    tasks = [Task("t", 0, [question]), Task("t", 0, [Example("a", "", "Where does Ada work? Oslo")])]
    for learner, task, learns_questions in zip(learners, tasks, (True, False), strict=True):
        learn(learner, started(learner, adapters(learns_questions=learns_questions)), task)
    assert same(learners[0].state_dict(), learners[1].state_dict())


def test_untold_questions_get_the_adapter_of_similar_ones(any_learner: Learner) -> None:
    questions = ["Where does Ada work?", "Who opened the bridge?"]
    method = started(any_learner, adapters())
    assert method.predictor(any_learner, -1) is any_learner
    for index, text in enumerate(questions):
        learn(any_learner, method, Task(text, index, [Example(text, text, " yes")]))
    predictor = method.predictor(any_learner, 1)
    told = predictor.loglikelihood([Prompt(t, t, task=i) for i, t in enumerate(questions)], [" yes", " yes"])
    found = predictor.loglikelihood([Prompt(t, t) for t in questions], [" yes", " yes"])
    swapped = predictor.loglikelihood([Prompt(t, t, task=1 - i) for i, t in enumerate(questions)], [" yes", " yes"])
    assert found == pytest.approx(told, rel=1e-5)
    assert all(own > other for own, other in zip(told, swapped, strict=True))


def test_adapters_of_past_tasks_are_stored(tiny_llama: Learner) -> None:
    method = started(tiny_llama, adapters())
    size = sum(4 * p.numel() for p in tiny_llama.trainable())
    for num_past, task in enumerate(TASKS):
        learn(tiny_llama, method, task)
        assert method.storage_bytes() == num_past * size


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_killed_run_continues_bit_for_bit(make_learner: Callable[[str], Learner], family: str) -> None:
    assert_survives_a_kill(lambda: make_learner(family), adapters)
