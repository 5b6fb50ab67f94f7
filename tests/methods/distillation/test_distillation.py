"""Distillation from new data: the divergence against torch's own, the teacher against a real second model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.method import Trainable
from cmt_cli.methods.distillation.distillation import Distillation, softened_divergence
from cmt_cli.training.supervised import SupervisedObjective
from tests.methods.gradient_parts import (
    FULL,
    LORA,
    TASKS,
    assert_equals_a_second_model,
    assert_is_finetuning,
    assert_survives_a_kill,
    batch_of,
    learn,
    moved,
    run,
)
from tests.present import present


def distillation(weight: float = 0.7, temperature: float = 2.0, trainable: Trainable = FULL) -> Distillation:
    return Distillation(trainable=trainable, weight=weight, temperature=temperature)


def test_divergence_by_hand() -> None:
    # At T = 2: teacher (1/2, 1/2), student (3/4, 1/4); KL = 1/2 ln(2/3) + 1/2 ln 2.
    teacher, student = torch.tensor([0.0, 0.0]), torch.tensor([2 * torch.tensor(3.0).log(), 0.0])
    expected = 0.5 * torch.tensor(2 / 3).log() + 0.5 * torch.tensor(2.0).log()
    assert softened_divergence(teacher, student, 2.0).item() == pytest.approx(4 * expected.item(), rel=1e-5)
    assert softened_divergence(student, student, 2.0).item() == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_divergence_equals_torchs(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, student = (torch.randn(3, 5, 11, generator=generator) for _ in range(2))
    expected = F.kl_div(
        (student / temperature).log_softmax(-1),
        (teacher / temperature).log_softmax(-1),
        reduction="none",
        log_target=True,
    ).sum(-1)
    torch.testing.assert_close(softened_divergence(teacher, student, temperature), temperature**2 * expected)


@pytest.mark.parametrize("trainable", [FULL, LORA], ids=["full", "lora"])
def test_penalty_and_gradient_equal_a_second_models(any_learner: Learner, trainable: Trainable) -> None:
    def expected(teacher: Learner, batch: Batch, student: Outputs) -> Tensor:
        with torch.no_grad():
            old = teacher.model(batch.input_ids, attention_mask=batch.attention_mask).logits
        scored = (batch.labels[:, 1:] != IGNORED).nonzero().tolist()
        total = torch.zeros(())
        for row, position in scored:  # the logits at t predict token t + 1
            column = student.kept.tolist().index(position)
            new, before = student.logits[row, column] / 2, old[row, position] / 2
            total = total + F.kl_div(new.log_softmax(-1), before.softmax(-1), reduction="sum")
        return 0.7 * 4 * total / len(scored)

    assert_equals_a_second_model(any_learner, distillation(trainable=trainable), "distillation", expected)


def test_micro_batches_do_not_change_it(tiny_llama: Learner) -> None:
    method = distillation()
    run(tiny_llama, method, TASKS[:1])
    moved(tiny_llama)
    objective = SupervisedObjective(tiny_llama, method, TASKS[1].train)
    terms = []
    for size in (3, 1):
        tiny_llama.model.zero_grad()
        found = objective.backward([0, 1, 2], micro_batch_size=size, step=0, num_steps=1)
        terms.append((found, [present(p.grad).clone() for p in tiny_llama.trainable()]))
    for name, value in terms[0][0].items():
        torch.testing.assert_close(terms[1][0][name], value, rtol=1e-5, atol=1e-6)
    for a, b in zip(terms[0][1], terms[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_it_keeps_predictions_nearer_to_the_teachers(make_learner: Callable[[str], Learner]) -> None:
    drift = []
    for weight in (0.0, 10.0):
        learner, method = make_learner("llama"), distillation(weight)
        run(learner, method, TASKS[:1])
        teacher, batch = learner.frozen_copy(), batch_of(learner, TASKS[1])
        learn(learner, method, TASKS[1])
        drift.append(softened_divergence(teacher.forward(batch).logits, learner.forward(batch).logits, 1.0).mean())
    assert drift[1] < 0.5 * drift[0]


def test_without_weight_it_is_finetuning(make_learner: Callable[[str], Learner]) -> None:
    for family in ("llama", "gpt2"):
        assert_is_finetuning(make_learner, family, distillation(0.0))


def test_a_killed_run_continues_bit_for_bit(make_learner: Callable[[str], Learner]) -> None:
    assert_survives_a_kill(make_learner, distillation)


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(UserError, match=r"method.temperature=0"):
        distillation(temperature=0)
