"""A-GEM on tasks that pull against each other."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from cmt_cli.core.exceptions import Interrupted, UserError
from cmt_cli.core.learner import Learner
from cmt_cli.layers.trainable import Full
from cmt_cli.memory.example_buffer import PerTask
from cmt_cli.methods.replay.agem import AGem
from cmt_cli.methods.sequential.finetune import FineTune
from cmt_cli.training.gradient_projection import dot
from tests.methods.gradient_memory_parts import TASKS, adjusted, learn, learned, loss_gradient, prepared
from tests.training.sessions import MemorySession


def agem(**changes: int) -> AGem:
    values = {"reference_rows": 6, "micro_batch_size": 4, "seed": 0, **changes}
    return AGem(trainable=Full(num_frozen_blocks=0), buffer=PerTask(examples_per_task=6, seed=0), **values)


def remembering(learner: Learner, num_tasks: int, **changes: int) -> AGem:
    """Return a method that has seen the first tasks without learning them."""
    method = agem(**changes)
    prepared(learner, method)
    for one in TASKS[:num_tasks]:
        method.before_task(learner, one)
        method.after_task(learner, one)
    method.before_task(learner, TASKS[num_tasks])
    return method


def test_a_step_against_the_old_examples_is_projected(any_learner: Learner) -> None:
    method = remembering(any_learner, 1)
    old = loss_gradient(any_learner, TASKS[0])
    against = [-value for value in old]
    against[0] = against[0] + torch.randn(against[0].shape, generator=torch.Generator().manual_seed(0))
    factor = dot(against, old) / dot(old, old)
    assert factor < 0
    for value, before, reference in zip(adjusted(any_learner, method, against), against, old, strict=True):
        torch.testing.assert_close(value, before - factor * reference, rtol=1e-4, atol=1e-4)
    assert abs(dot(adjusted(any_learner, method, against), old)) < 1e-4 * dot(old, old)


def test_a_step_that_helps_the_old_examples_stays(tiny_gpt2: Learner) -> None:
    method = remembering(tiny_gpt2, 1)
    old = loss_gradient(tiny_gpt2, TASKS[0])
    assert all(torch.equal(one, other) for one, other in zip(adjusted(tiny_gpt2, method, old), old, strict=True))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_first_task_is_fine_tuning_step_by_step(make_learner: Callable[[str], Learner], family: str) -> None:
    plain = learned(make_learner(family), FineTune(trainable=Full(num_frozen_blocks=0)), 1)
    projected = learned(make_learner(family), agem(), 1)
    assert all(torch.equal(plain[name], value) for name, value in projected.items())


def test_a_resumed_task_is_the_uninterrupted_one(make_learner: Callable[[str], Learner]) -> None:
    method = agem(reference_rows=2)
    expected = learned(make_learner("llama"), method, 2)
    learner, first = make_learner("llama"), agem(reference_rows=2)
    learned(learner, first, 1)
    kept = first.state_dict()
    session = MemorySession(stop_after=2)
    with pytest.raises(Interrupted):
        learn(learner, first, TASKS[1], session)
    resumed, second = make_learner("llama"), agem(reference_rows=2)
    prepared(resumed, second)
    second.load_state_dict(kept)
    learn(resumed, second, TASKS[1], MemorySession(session.state))
    assert all(torch.equal(expected[name], value) for name, value in resumed.state_dict().items())
    second.after_task(resumed, TASKS[1])
    assert second.state_dict() == method.state_dict()


def test_state_round_trip_and_bytes(tiny_gpt2: Learner) -> None:
    method = remembering(tiny_gpt2, 1, reference_rows=2)
    gradient = [-value for value in loss_gradient(tiny_gpt2, TASKS[0])]
    first = adjusted(tiny_gpt2, method, gradient)
    other = agem(reference_rows=2)
    other.before_task(tiny_gpt2, TASKS[1])
    other.load_state_dict(json.loads(json.dumps(method.state_dict())))
    second, same = adjusted(tiny_gpt2, method, gradient), adjusted(tiny_gpt2, other, gradient)
    assert all(torch.equal(a, b) for a, b in zip(second, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, second, strict=True))  # each step draws its own rows
    assert other.storage_bytes() == sum(len(example.prompt + example.target) for example in TASKS[0].train)


def test_no_reference_rows_are_refused() -> None:
    with pytest.raises(UserError, match="reference_rows=0"):
        agem(reference_rows=0)
