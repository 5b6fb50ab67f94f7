"""MAS: sensitivities add up over tasks; how they are measured is tested in training/test_importance.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cmt_cli.core.learner import Learner
from cmt_cli.core.parameter_values import trainable_parameters, trainable_values
from cmt_cli.core.stream import Task
from cmt_cli.methods.regularization.mas import MAS
from cmt_cli.training.importance import importance, mean_squared_norm
from tests.methods.gradient_parts import (
    FULL,
    TASKS,
    assert_is_finetuning,
    assert_survives_a_kill,
    batch_of,
    learn,
    run,
)


def mas(weight: float = 2.0) -> MAS:
    return MAS(trainable=FULL, weight=weight, normalize="sum", num_samples=8, seed=0)


def omega_of(learner: Learner, task: Task) -> dict[str, Tensor]:
    rows = [row for example in task.train for row in learner.rows(example)]
    return importance(learner, rows, mean_squared_norm, torch.abs)


def test_the_penalty_after_two_tasks(any_learner: Learner) -> None:
    method = mas()
    run(any_learner, method, TASKS[:1])
    first = omega_of(any_learner, TASKS[0])
    learn(any_learner, method, TASKS[1])
    second, anchor = omega_of(any_learner, TASKS[1]), trainable_values(any_learner)
    with torch.no_grad():
        for parameter in any_learner.trainable():
            parameter.mul_(0.9)
    expected = sum(
        2.0 * ((first[name] + second[name]) * (p.detach() - anchor[name]) ** 2).double().sum()
        for name, p in trainable_parameters(any_learner).items()
    )
    batch = batch_of(any_learner, TASKS[1])
    penalty = method.penalties(any_learner, batch, any_learner.forward(batch))["mas"]
    assert penalty.item() == pytest.approx(float(expected), rel=1e-4)
    assert method.storage_bytes() == 2 * sum(4 * value.numel() for value in anchor.values())


def test_labels_do_not_matter(tiny_llama: Learner) -> None:
    tiny_llama.unfreeze()
    (row,) = tiny_llama.rows(TASKS[0].train[0])
    batch = tiny_llama.collate([row])
    one = mean_squared_norm(batch, tiny_llama.forward(batch))
    batch.labels[batch.labels >= 0] = 7
    assert mean_squared_norm(batch, tiny_llama.forward(batch)) == one


def test_without_weight_it_is_finetuning(make_learner: Callable[[str], Learner]) -> None:
    for family in ("llama", "gpt2"):
        assert_is_finetuning(make_learner, family, mas(0.0))


def test_a_killed_run_continues_bit_for_bit(make_learner: Callable[[str], Learner]) -> None:
    assert_survives_a_kill(make_learner, lambda: mas(1e-4))
