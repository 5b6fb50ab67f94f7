"""GEM on tasks that pull against each other: one constraint for each past task."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.layers.trainable import Full
from cmt_cli.memory.example_buffer import PerTask
from cmt_cli.methods.replay.agem import AGem
from cmt_cli.methods.replay.gem import Gem
from cmt_cli.methods.sequential.finetune import FineTune
from cmt_cli.training.gradient_projection import dot
from tests.methods.gradient_memory_parts import TASKS, adjusted, learned, loss_gradient, prepared


def gem(margin: float = 0.0) -> Gem:
    buffer = PerTask(examples_per_task=6, seed=0)
    return Gem(
        trainable=Full(num_frozen_blocks=0),
        buffer=buffer,
        reference_rows=6,
        micro_batch_size=4,
        margin=margin,
        seed=0,
    )


def remembering(learner: Learner) -> Gem:
    """Return a method that has seen two tasks without learning them."""
    method = gem()
    prepared(learner, method)
    for one in TASKS[:2]:
        method.before_task(learner, one)
        method.after_task(learner, one)
    method.before_task(learner, TASKS[2])
    return method


def test_no_past_task_is_harmed(any_learner: Learner) -> None:
    method = remembering(any_learner)
    first, second = (loss_gradient(any_learner, one) for one in TASKS[:2])
    against = [-a - 2 * b for a, b in zip(first, second, strict=True)]
    assert dot(against, first) < 0 or dot(against, second) < 0
    after = adjusted(any_learner, method, against)
    for old in (first, second):
        assert dot(after, old) > -1e-4 * dot(old, old)


def test_one_past_task_without_margin_is_agem(tiny_gpt2: Learner) -> None:
    average = AGem(
        trainable=Full(num_frozen_blocks=0),
        buffer=PerTask(examples_per_task=6, seed=0),
        reference_rows=6,
        micro_batch_size=4,
        seed=0,
    )
    changed = []
    for method in (average, gem()):
        prepared(tiny_gpt2, method)
        method.before_task(tiny_gpt2, TASKS[0])
        method.after_task(tiny_gpt2, TASKS[0])
        method.before_task(tiny_gpt2, TASKS[1])
        tiny_gpt2.model.zero_grad()
        against = [-value for value in loss_gradient(tiny_gpt2, TASKS[0])]
        against[0] = against[0] + torch.randn(against[0].shape, generator=torch.Generator().manual_seed(0))
        changed.append(adjusted(tiny_gpt2, method, against))
    for value, other in zip(*changed, strict=True):
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-4)


def test_the_first_task_is_fine_tuning_step_by_step(make_learner: Callable[[str], Learner]) -> None:
    plain = learned(make_learner("llama"), FineTune(trainable=Full(num_frozen_blocks=0)), 1)
    projected = learned(make_learner("llama"), gem(margin=0.5), 1)
    assert all(torch.equal(plain[name], value) for name, value in projected.items())


def test_a_negative_margin_is_refused() -> None:
    with pytest.raises(UserError, match="margin=-1"):
        gem(margin=-1.0)
