"""Prompt tuning and prefix tuning: fine-tuning in which only virtual tokens are trained."""

from collections.abc import Callable

import pytest
import torch

from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Trainable
from cmt_cli.layers.prefixes import PrefixKeyValues
from cmt_cli.layers.prompts import SoftPrompt
from cmt_cli.methods.sequential.finetune import FineTune
from tests.methods.task_sequences import TASKS, assert_survives_a_kill, started
from tests.training.sessions import MemorySession, budget, trainer

PROMPT = SoftPrompt(num_virtual=3, text=None, num_common=300, seed=0)
PREFIX = PrefixKeyValues(num_virtual=3, reparametrization=None, num_common=300, seed=0)
NETWORK = PrefixKeyValues(num_virtual=3, reparametrization=8, num_common=300, seed=0)
ALL = pytest.mark.parametrize("trainable", [PROMPT, PREFIX, NETWORK], ids=["prompt", "prefix", "network"])


@ALL
def test_learning_lowers_the_loss_without_changing_the_base(any_learner: Learner, trainable: Trainable) -> None:
    base = {name: p.clone() for name, p in any_learner.model.named_parameters()}
    method = started(any_learner, FineTune(trainable=trainable))
    batch = any_learner.collate([row for example in TASKS[0].train for row in any_learner.rows(example)])
    before = any_learner.forward(batch).token_nll.sum()
    fit = trainer(task=budget(num_steps=20, learning_rate=0.05)).bind(any_learner, method, MemorySession())
    method.learn(any_learner, TASKS[0], fit)
    assert any_learner.forward(batch).token_nll.sum() < before
    after = dict(any_learner.model.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in base.items())
    assert method.storage_bytes() == 0


@ALL
def test_first_step_follows_the_gradient_of_the_mean_loss(
    make_learner: Callable[[str], Learner], trainable: Trainable
) -> None:
    learner, other = make_learner("llama"), make_learner("llama")
    method = started(learner, FineTune(trainable=trainable))
    parameters = trainable.apply(other)
    batch = other.collate([row for example in TASKS[0].train for row in other.rows(example)])
    outputs = other.forward(batch)
    gradients = torch.autograd.grad(outputs.token_nll.sum() / (batch.labels[:, 1:] != -100).sum(), parameters)
    fit = trainer(task=budget(num_steps=1, learning_rate=0.1)).bind(learner, method, MemorySession())
    method.learn(learner, TASKS[0], fit)
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    for new, old, gradient in zip(learner.trainable(), parameters, gradients, strict=True):
        clipped = gradient / norm.clamp(min=1.0)
        step = 0.1 * clipped / (clipped.abs() + 1e-8)  # Adam's first step, without weight decay
        large = clipped.abs() > 1e-4
        torch.testing.assert_close((old - new)[large], step[large], rtol=1e-3, atol=1e-5)


@ALL
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_killed_run_continues_bit_for_bit(
    make_learner: Callable[[str], Learner], family: str, trainable: Trainable
) -> None:
    assert_survives_a_kill(lambda: make_learner(family), lambda: FineTune(trainable=trainable))


def test_equal_seeds_draw_equal_prompts_and_others_differ(make_learner: Callable[[str], Learner]) -> None:
    seeds = (0, 0, 1)
    prompts = [SoftPrompt(num_virtual=3, text=None, num_common=300, seed=seed) for seed in seeds]
    first, same, other = (prompt.apply(make_learner("gpt2"))[0] for prompt in prompts)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
