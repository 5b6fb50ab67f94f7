"""Experts and router rows per task: growing changes nothing, old ones stay, and without the new it is the old model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cmt_cli.core.batch import Batch
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.parameter_values import trainable_values
from cmt_cli.core.stream import Task
from cmt_cli.layers import lora_experts
from cmt_cli.layers.lora_experts import LoraExperts
from cmt_cli.layers.trainable import Full, Unchanged
from cmt_cli.methods.architecture.moe import MixtureOfExperts
from cmt_cli.methods.combination import Combination
from cmt_cli.methods.sequential.finetune import FineTune
from tests.methods.task_sequences import TASKS, assert_survives_a_kill, learn, logits, same, started
from tests.training.sessions import MemorySession, budget, trainer

EXPERTS = LoraExperts(num_experts=2, rank=2, alpha=8.0, targets="query_value", seed=0)


def moe(output_regularization: float = 0.0) -> MixtureOfExperts:
    return MixtureOfExperts(trainable=EXPERTS, output_regularization=output_regularization)


def batch_of(learner: Learner, task: Task) -> Batch:
    return learner.collate([row for example in task.train for row in learner.rows(example)])


def values(learner: Learner, group: int) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in lora_experts.group(learner, group)]


def test_growth_preserves_logits_and_freezes_old_experts(any_learner: Learner) -> None:
    method = started(any_learner, moe())
    base = logits(any_learner)
    learn(any_learner, method, TASKS[0])
    first, before = values(any_learner, 0), logits(any_learner)
    assert not torch.equal(before, base)
    assert all(value.abs().sum() > 0 for value in first)  # routers have learned with one group already
    method.before_task(any_learner, TASKS[1])
    assert torch.equal(logits(any_learner), before)
    method.load_state_dict({"num_groups": 1})
    learn(any_learner, method, TASKS[1])
    assert all(torch.equal(a, b) for a, b in zip(first, values(any_learner, 0), strict=True))
    with lora_experts.without_newest(any_learner):
        assert torch.equal(logits(any_learner), before)
    assert not torch.equal(logits(any_learner), before)
    assert method.storage_bytes() == sum(4 * value.numel() for value in first)  # all but the newest, in float32


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_first_task_is_fine_tuning_of_one_group(make_learner: Callable[[str], Learner], family: str) -> None:
    learners = [make_learner(family), make_learner(family)]
    learn(learners[0], started(learners[0], moe()), TASKS[0])
    learn(learners[1], started(learners[1], FineTune(trainable=EXPERTS)), TASKS[0])
    assert same(learners[0].state_dict(), learners[1].state_dict())


def test_the_penalty_is_the_divergence_from_the_previous_model(any_learner: Learner) -> None:
    method = started(any_learner, moe(0.5))
    learn(any_learner, method, TASKS[0])
    batch = batch_of(any_learner, TASKS[1])
    old = any_learner.forward(batch).logits.detach().double().log_softmax(dim=-1)
    method.before_task(any_learner, TASKS[1])
    at_start = method.penalties(any_learner, batch, any_learner.forward(batch))
    assert at_start["output_regularization"].item() == 0
    with torch.no_grad():
        for parameter in any_learner.trainable():
            parameter.add_(0.1)
    outputs = any_learner.forward(batch)
    found = method.penalties(any_learner, batch, outputs)["output_regularization"]
    new = outputs.logits.detach().double().log_softmax(dim=-1)
    scored = batch.labels[:, 1:] != -100
    per_token = torch.nn.functional.kl_div(new, old, log_target=True, reduction="none").sum(dim=-1)
    expected = sum(float(per_token[b, i]) for b in range(2) for i, t in enumerate(outputs.kept) if scored[b, t])
    assert found.item() == pytest.approx(0.5 * expected / int(scored.sum()), rel=1e-4)
    found.backward()
    assert all(p.grad is not None for p in any_learner.trainable())


def test_learning_with_the_penalty_stays_nearer_the_old_model(make_learner: Callable[[str], Learner]) -> None:
    distances = {}
    for weight in (0.0, 5.0):
        learner = make_learner("llama")
        method = started(learner, moe(weight))
        for task in TASKS:
            before = logits(learner)
            learn(learner, method, task)
        distances[weight] = (logits(learner) - before).norm().item()
    assert 0 < distances[5.0] < distances[0.0]


def test_the_micro_batch_size_changes_nothing(make_learner: Callable[[str], Learner]) -> None:
    ended = []
    for size in (2, 1):
        learner = make_learner("gpt2")
        method = started(learner, moe(0.5))
        made = trainer(task=budget(num_steps=2, batch_size=2, learning_rate=1e-3), micro_batch_size=size)
        for task in TASKS:
            method.before_task(learner, task)
            method.learn(learner, task, made.bind(learner, method, MemorySession()))
        ended.append(logits(learner))
    assert torch.allclose(ended[0], ended[1], atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_killed_run_continues_bit_for_bit(make_learner: Callable[[str], Learner], family: str) -> None:
    assert_survives_a_kill(lambda: make_learner(family), lambda: moe(0.5))


def test_it_joins_other_methods(make_learner: Callable[[str], Learner]) -> None:
    learners = [make_learner("llama"), make_learner("llama")]
    joined = Combination(methods={"moe": moe(), "off": FineTune(trainable=Unchanged())}, order=["moe", "off"])
    learn(learners[0], started(learners[0], joined), TASKS[0])
    learn(learners[1], started(learners[1], moe()), TASKS[0])
    assert same(trainable_values(learners[0]), trainable_values(learners[1]))


def test_a_choice_without_experts_is_refused() -> None:
    with pytest.raises(UserError, match=r"trainable@method\.trainable=lora_experts"):
        MixtureOfExperts(trainable=Full(num_frozen_blocks=0), output_regularization=0.0)  # type: ignore[arg-type]
