"""L2: nothing in the first task, then a pull towards where the first task ended."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.parameter_values import trainable_parameters
from cmt_cli.methods.regularization.l2 import L2
from tests.methods.gradient_parts import (
    FULL,
    TASKS,
    assert_is_finetuning,
    assert_survives_a_kill,
    batch_of,
    run,
    state,
)


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return sum(float((one[name] - other[name]).square().sum()) for name in one)


def test_the_penalty_is_the_weighted_squared_distance(any_learner: Learner) -> None:
    method = L2(trainable=FULL, weight=0.5, normalize="sum")
    (session,) = run(any_learner, method, TASKS[:1])
    assert "l2" not in session.logged[0][1]
    for parameter in trainable_parameters(any_learner).values():
        parameter.data += 0.25
    count = sum(parameter.numel() for parameter in any_learner.trainable())
    batch = batch_of(any_learner, TASKS[1])
    penalty = method.penalties(any_learner, batch, any_learner.forward(batch))["l2"]
    assert penalty.item() == pytest.approx(0.5 * count * 0.25**2, rel=1e-4)
    assert method.storage_bytes() == 4 * count


def test_without_weight_it_is_finetuning(make_learner: Callable[[str], Learner]) -> None:
    for family in ("llama", "gpt2"):
        assert_is_finetuning(make_learner, family, L2(trainable=FULL, weight=0.0, normalize="sum"))


def test_a_greater_weight_stays_closer_to_the_previous_task(make_learner: Callable[[str], Learner]) -> None:
    moved = []
    for weight in (0.0, 0.1, 100.0):
        learner, method = make_learner("llama"), L2(trainable=FULL, weight=weight, normalize="sum")
        run(learner, method, TASKS[:1])
        before = state(learner)
        run(learner, method, TASKS[1:])
        moved.append(distance(state(learner), before))
    assert moved[0] > moved[1] > moved[2] > 0


def test_a_killed_run_continues_bit_for_bit(make_learner: Callable[[str], Learner]) -> None:
    assert_survives_a_kill(make_learner, lambda: L2(trainable=FULL, weight=0.3, normalize="sum"))


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(UserError, match=r"method.weight=-1"):
        L2(trainable=FULL, weight=-1, normalize="sum")
    with pytest.raises(UserError):
        L2(trainable=FULL, weight=float(torch.nan), normalize="sum")
