"""Importance of parameters: by hand on a toy, and on language models against one plain backward pass per example."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cmt_cli.core.batch import Row
from cmt_cli.core.learner import Learner
from cmt_cli.training.importance import (
    importance,
    mean_nll,
    mean_of_gradients,
    mean_squared_norm,
    sampled_nll,
    sampled_rows,
)
from tests.methods.gradient_parts import TASKS

EXAMPLES = TASKS[0].train


def all_rows(learner: Learner) -> list[Row]:
    return [row for example in EXAMPLES for row in learner.rows(example)]


def mean_per_row(
    learner: Learner, rows: list[Row], value: Callable[[Row], Tensor], transform: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Return the mean over the rows of a function of each row's own gradient, by one plain backward pass per row."""
    names, parameters = zip(*learner.model.named_parameters(), strict=True)
    totals = [torch.zeros_like(p) for p in parameters]
    for row in rows:
        for total, gradient in zip(totals, torch.autograd.grad(value(row), parameters), strict=True):
            total += transform(gradient) / len(rows)
    return dict(zip(names, totals, strict=True))


def test_examples_do_not_cancel() -> None:
    theta = torch.tensor([1.0, 2.0], requires_grad=True)
    unused = torch.tensor([5.0], requires_grad=True)
    inputs = torch.tensor([[3.0, 0.0], [-3.0, 1.0]])  # gradients of theta . x are the inputs
    parameters = {"theta": theta, "unused": unused}
    squared = mean_of_gradients((x @ theta for x in inputs), parameters, torch.square)
    assert squared["theta"].tolist() == [9.0, 0.5]  # the squared mean gradient would be [0, 0.25]
    assert squared["unused"].tolist() == [0.0]
    assert mean_of_gradients((x @ theta for x in inputs), parameters, torch.abs)["theta"].tolist() == [3.0, 0.5]
    assert theta.grad is None
    assert mean_of_gradients([], parameters, torch.abs)["theta"].tolist() == [0.0, 0.0]


def test_the_fisher_of_a_coin_is_its_information() -> None:
    logit = torch.tensor(0.4, requires_grad=True)
    p = logit.detach().sigmoid()
    outcomes = (torch.rand(4000, generator=torch.Generator().manual_seed(0)) < p).float()
    losses = (torch.nn.functional.binary_cross_entropy_with_logits(logit, y) for y in outcomes)
    fisher = mean_of_gradients(losses, {"logit": logit}, torch.square)["logit"]
    assert fisher.item() == pytest.approx((p * (1 - p)).item(), rel=0.05)


def test_the_empirical_fisher_averages_squared_gradients(any_learner: Learner) -> None:
    any_learner.unfreeze()
    rows = all_rows(any_learner)
    found = importance(any_learner, rows, mean_nll, torch.square)

    def loss(row: Row) -> Tensor:
        batch = any_learner.collate([row])
        return any_learner.model(batch.input_ids, labels=batch.labels).loss  # transformers' own mean over the labels

    expected = mean_per_row(any_learner, rows, loss, torch.square)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-7)
        assert not found[name].requires_grad


def test_sensitivity_is_of_the_logits_squared_norm(any_learner: Learner) -> None:
    any_learner.unfreeze()
    rows = all_rows(any_learner)
    found = importance(any_learner, rows, mean_squared_norm, torch.abs)

    def squared_norm(row: Row) -> Tensor:
        logits = any_learner.model(torch.tensor([row.input_ids])).logits[0]
        first = max(row.num_prompt_tokens, 1)  # without a prompt and a start token the first token is not predicted
        return torch.stack([logits[t - 1].norm() ** 2 for t in range(first, len(row.input_ids))]).mean()

    for name, value in mean_per_row(any_learner, rows, squared_norm, torch.abs).items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)


def test_sampled_labels_follow_the_model_and_the_seed(tiny_llama: Learner) -> None:
    tiny_llama.unfreeze()
    rows = all_rows(tiny_llama)

    def fisher(seed: int) -> torch.Tensor:
        score = sampled_nll(torch.Generator().manual_seed(seed))
        return importance(tiny_llama, rows, score, torch.square)["lm_head.weight"]

    assert torch.equal(fisher(0), fisher(0))
    assert not torch.equal(fisher(0), fisher(1))
    batch = tiny_llama.collate(rows[:1])
    outputs = tiny_llama.forward(batch)
    score = sampled_nll(torch.Generator().manual_seed(0))
    drawn = torch.stack([score(batch, outputs).detach() for _ in range(400)])
    logs = outputs.logits[0].log_softmax(dim=-1)
    entropy = -(logs.exp() * logs).sum(dim=-1).mean()  # the expectation of nll under the model's own labels
    assert drawn.mean().item() == pytest.approx(entropy.item(), rel=0.05)


def test_rows_are_capped_drawn_by_the_seed_and_distinct(tiny_gpt2: Learner) -> None:
    drawn = {tuple(r.id for r in sampled_rows(tiny_gpt2, EXAMPLES, num_samples=2, seed=s)) for s in range(20)}
    assert drawn == {("a", "b"), ("a", "c"), ("b", "c")}
    assert [r.id for r in sampled_rows(tiny_gpt2, EXAMPLES, num_samples=99, seed=0)] == ["a", "b", "c"]
