"""Dark experience replay: the loss against torch's own terms on new and old rows, and the paper's form as a limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.stream import Example
from cmt_cli.memory.example_buffer import PerTask, Reservoir
from cmt_cli.methods.distillation.der import DER
from cmt_cli.training.supervised import SupervisedObjective
from tests.methods.gradient_parts import FULL, TASKS, assert_is_finetuning, assert_survives_a_kill, learn, moved, run
from tests.present import present

VOCAB = 384


def der(**changes: Any) -> DER:
    values: dict[str, Any] = {
        "trainable": FULL,
        "buffer": PerTask(examples_per_task=2, seed=0),
        "alpha": 0.3,
        "beta": 0.5,
        "distance": "mse",
        "top_k": VOCAB,
        "old_rows_per_row": 1.0,
        "seed": 0,
    }
    return DER(**(values | changes))


def one_step(learner: Learner, method: DER, size: int = 99) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Return the terms and gradients of one effective batch of the second task."""
    learner.model.zero_grad()
    method.before_task(learner, TASKS[1])
    objective = SupervisedObjective(learner, method, TASKS[1].train)
    terms = objective.backward([0, 1, 2], micro_batch_size=size, step=0, num_steps=1)
    return terms, [present(p.grad).clone() for p in learner.trainable()]


def logits_and_labels(learner: Learner, example: Example) -> tuple[Tensor, Tensor]:
    (row,) = learner.rows(example)
    batch = learner.collate([row])
    scored = batch.labels[0, 1:] != IGNORED
    return learner.model(batch.input_ids).logits[0, :-1][scored], batch.labels[0, 1:][scored]


@pytest.mark.parametrize("distance", ["mse", "kl"])
def test_the_loss_with_whole_outputs_is_the_papers(any_learner: Learner, distance: str) -> None:
    method = der(distance=distance)
    run(any_learner, method, TASKS[:1])
    teacher = any_learner.frozen_copy()
    moved(any_learner)
    terms, gradients = one_step(any_learner, method)

    # 3 old rows for 3 new ones: both kept examples, and one of them again.
    mixed = method.mix_batch(any_learner, any_learner.collate(any_learner.rows(TASKS[1].train[0]) * 3))
    assert mixed.replayed.tolist() == [False] * 3 + [True] * 3
    kept = {entry.example.id: entry.example for entry in method.buffer.entries}
    assert len(kept) == 2
    method.before_task(any_learner, TASKS[1])
    again = method.mix_batch(any_learner, any_learner.collate(any_learner.rows(TASKS[1].train[0]) * 3))
    old = [kept[name.split("/")[2]] for name in again.ids[3:]]

    pairs = [logits_and_labels(any_learner, example) for example in TASKS[1].train]
    latest, labels = (torch.cat(part) for part in zip(*pairs, strict=True))
    new_nll = F.cross_entropy(latest, labels)
    pairs = [logits_and_labels(any_learner, example) for example in old]
    latest, labels = (torch.cat(part) for part in zip(*pairs, strict=True))
    with torch.no_grad():
        before = torch.cat([logits_and_labels(teacher, example)[0] for example in old])
    if distance == "mse":
        output_term = F.mse_loss(latest, before)
    else:
        output_term = F.kl_div(latest.log_softmax(-1), before.softmax(-1), reduction="batchmean")
    expected = new_nll + 0.3 * output_term + 0.5 * F.cross_entropy(latest, labels)
    torch.testing.assert_close(terms["loss"], expected.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms["stored_outputs"], 0.3 * output_term.detach(), rtol=1e-3, atol=1e-5)
    for gradient, value in zip(gradients, torch.autograd.grad(expected, any_learner.trainable()), strict=True):
        torch.testing.assert_close(gradient, value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("top_k", [8, VOCAB])
def test_micro_batches_do_not_change_it(make_learner: Callable[[str], Learner], top_k: int) -> None:
    learner, method = make_learner("llama"), der(top_k=top_k)
    run(learner, method, TASKS[:1])
    moved(learner)
    (whole, whole_gradients), (cut, cut_gradients) = one_step(learner, method), one_step(learner, method, size=1)
    for name, value in whole.items():
        torch.testing.assert_close(cut[name], value, rtol=1e-5, atol=1e-6)
    for a, b in zip(whole_gradients, cut_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_the_unchanged_model_has_no_output_distance(any_learner: Learner) -> None:
    for distance in ("mse", "kl"):
        method = der(distance=distance, top_k=5)
        run(any_learner, method, TASKS[:1])
        terms, _ = one_step(any_learner, method)
        assert terms["stored_outputs"].item() == pytest.approx(0, abs=1e-6)


def test_outputs_stay_unchanged_and_leave_with_their_example(tiny_llama: Learner) -> None:
    method = der(buffer=Reservoir(capacity=3, seed=1))
    run(tiny_llama, method, TASKS[:1])
    first = method.state_dict()
    learn(tiny_llama, method, TASKS[1])
    names = method.state_dict()["stored.names"]
    assert len(names) == 3 and set(names) != set(first["stored.names"])
    shared = set(names) & set(first["stored.names"])
    before, after = der(), der()
    before.load_state_dict(first)
    after.load_state_dict(method.state_dict())
    assert shared and all(torch.equal(before._stored[n].logits, after._stored[n].logits) for n in shared)


def test_old_labels_do_not_matter_without_beta(tiny_llama: Learner) -> None:
    method = der(beta=0.0, alpha=0.0)
    run(tiny_llama, method, TASKS[:1])
    terms, gradients = one_step(tiny_llama, method)
    plain, expected = one_step(tiny_llama, der(old_rows_per_row=0.0))
    torch.testing.assert_close(terms["loss"], plain["loss"])
    for gradient, value in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, value, rtol=1e-3, atol=1e-5)


def test_without_old_rows_it_is_finetuning(make_learner: Callable[[str], Learner]) -> None:
    for family in ("llama", "gpt2"):
        assert_is_finetuning(make_learner, family, der(old_rows_per_row=0.0))


def test_a_killed_run_continues_bit_for_bit(make_learner: Callable[[str], Learner]) -> None:
    assert_survives_a_kill(make_learner, lambda: der(top_k=8))


def test_storage_counts_texts_and_outputs(tiny_gpt2: Learner) -> None:
    method = der(top_k=8)
    run(tiny_gpt2, method, TASKS[:1])
    num_tokens = sum(method.state_dict()["stored.num_tokens"])
    assert method.storage_bytes() == method.buffer.storage_bytes() + num_tokens * (8 * (4 + 4) + 4)
