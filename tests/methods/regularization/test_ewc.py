"""EWC: learn two tasks, look at the penalty; its Fisher information is tested in training/test_importance.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.parameter_values import trainable_parameters, trainable_values
from cmt_cli.core.stream import Task
from cmt_cli.methods.regularization.ewc import EWC, decayed_sum, running_mean
from cmt_cli.training.importance import importance, mean_nll
from tests.methods.gradient_parts import (
    FULL,
    TASKS,
    assert_is_finetuning,
    assert_survives_a_kill,
    batch_of,
    learn,
    run,
)


def ewc(**changes: Any) -> EWC:
    values: dict[str, Any] = {
        "trainable": FULL,
        "weight": 10.0,
        "normalize": "sum",
        "accumulation": "per_task",
        "gamma": 0.5,
        "labels": "empirical",
        "num_samples": 8,
        "seed": 0,
    }
    return EWC(**(values | changes))


def fisher_of(learner: Learner, task: Task) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    rows = [row for example in task.train for row in learner.rows(example)]
    return importance(learner, rows, mean_nll, torch.square), trainable_values(learner)


def penalty_of(method: EWC, learner: Learner) -> torch.Tensor:
    batch = batch_of(learner, TASKS[1])
    return method.penalties(learner, batch, learner.forward(batch))["ewc"]


def test_ways_to_keep_several_tasks_by_hand() -> None:
    old, latest = {"a": torch.tensor([8.0])}, {"a": torch.tensor([2.0]), "grown": torch.tensor([4.0])}
    mean = running_mean(old, latest, 3)
    assert mean["a"].item() == (2 + 8 * 3) / 4 and mean["grown"].item() == 1
    decayed = decayed_sum(old, latest, 0.5)
    assert decayed["a"].item() == 0.5 * 8 + 2 and decayed["grown"].item() == 4


@pytest.mark.parametrize("accumulation", ["per_task", "running_mean", "online"])
def test_the_penalty_after_two_tasks(any_learner: Learner, accumulation: str) -> None:
    method = ewc(accumulation=accumulation)
    (session,) = run(any_learner, method, TASKS[:1])
    assert "ewc" not in session.logged[0][1]
    first = fisher_of(any_learner, TASKS[0])
    learn(any_learner, method, TASKS[1])
    second = fisher_of(any_learner, TASKS[1])
    with torch.no_grad():
        for parameter in any_learner.trainable():
            parameter.mul_(1.1)
    theta = {name: p.detach() for name, p in trainable_parameters(any_learner).items()}
    terms = {
        "per_task": [first, second],
        "running_mean": [({n: (f + first[0][n]) / 2 for n, f in second[0].items()}, second[1])],
        "online": [({n: f + 0.5 * first[0][n] for n, f in second[0].items()}, second[1])],
    }[accumulation]
    expected = sum(5.0 * (f[n] * (theta[n] - a[n]) ** 2).double().sum() for f, a in terms for n in theta)
    assert penalty_of(method, any_learner).item() == pytest.approx(float(expected), rel=1e-4)
    assert method.storage_bytes() == len(terms) * 2 * sum(4 * value.numel() for value in theta.values())


def test_its_gradient_is_fisher_times_distance(tiny_llama: Learner) -> None:
    method = ewc()
    run(tiny_llama, method, TASKS[:1])
    fisher, anchor = fisher_of(tiny_llama, TASKS[0])
    with torch.no_grad():
        for parameter in tiny_llama.trainable():
            parameter.add_(0.1)
    parameters = trainable_parameters(tiny_llama)
    gradients = torch.autograd.grad(penalty_of(method, tiny_llama), list(parameters.values()))
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        torch.testing.assert_close(gradient, 10.0 * fisher[name] * (parameter.detach() - anchor[name]))


def test_without_weight_it_is_finetuning(make_learner: Callable[[str], Learner]) -> None:
    for family in ("llama", "gpt2"):
        assert_is_finetuning(make_learner, family, ewc(weight=0.0, labels="sampled"))


@pytest.mark.parametrize("changes", [{}, {"accumulation": "online", "labels": "sampled", "num_samples": 2}], ids=str)
def test_a_killed_run_continues_bit_for_bit(make_learner: Callable[[str], Learner], changes: dict[str, Any]) -> None:
    assert_survives_a_kill(make_learner, lambda: ewc(**changes))


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(UserError, match=r"accumulation='onlin'.*online"):
        ewc(accumulation="onlin")
    with pytest.raises(UserError, match="labels"):
        ewc(labels="true")
    with pytest.raises(UserError, match="num_samples=0"):
        ewc(num_samples=0)
