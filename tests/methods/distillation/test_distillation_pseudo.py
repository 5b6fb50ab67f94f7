"""Distillation from pseudo-old data: the loss against a real second model, and what the teacher is shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Trainable
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.layers.trainable import Full
from cmt_cli.methods.distillation.distillation_pseudo import DistillationPseudo
from cmt_cli.methods.sequential.finetune import FineTune
from tests.methods import gradient_parts
from tests.methods.replay.test_generative_replay import PSEUDO, backward, generation, in_the_second_task, parts_by_hand
from tests.methods.task_sequences import TASKS, assert_survives_a_kill, started

FULL = Full(num_frozen_blocks=0)
LORA = Lora(rank=2, alpha=4.0, targets="query_value", seed=0)


def distilled(
    weight: float = 0.7, lm_weight: float = 0.25, *, trainable: Trainable = FULL, **changes: Any
) -> DistillationPseudo:
    return DistillationPseudo(
        trainable=trainable,
        generation=generation(**{name: value for name, value in changes.items() if name != "temperature"}),
        lm_weight=lm_weight,
        weight=weight,
        temperature=changes.get("temperature", 2.0),
        seed=0,
    )


def moved(learner: Learner, size: float = 0.05) -> None:
    with torch.no_grad():
        for parameter in learner.trainable():
            parameter.add_(size * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))


def divergences(learner: Learner, teacher: Learner, read: str, target: str, *, ends: bool) -> Tensor:
    """Return 4 KL at temperature 2 for each token of `target` and the end token behind `read`."""
    start = [0] if learner.tokenizer("a")["input_ids"][0] == 0 else []
    front = [*start, *learner.encode(read)]
    ids = [*start, *learner.encode(read + target), *([learner.eos_id] if ends else [])]
    student = learner.model(torch.tensor([ids])).logits[0, max(len(front), 1) - 1 : -1] / 2
    with torch.no_grad():
        old = teacher.model(torch.tensor([ids])).logits[0, max(len(front), 1) - 1 : -1] / 2
    return 4 * F.kl_div(student.log_softmax(-1), old.log_softmax(-1), reduction="none", log_target=True).sum(-1)


@pytest.mark.parametrize("trainable", [FULL, LORA], ids=["full", "lora"])
def test_loss_and_gradient_average_separate_forward_passes(any_learner: Learner, trainable: Trainable) -> None:
    method = distilled(trainable=trainable)
    in_the_second_task(any_learner, method)
    teacher = any_learner.frozen_copy()
    moved(any_learner, size=0.05 if trainable is FULL else 0.2)
    terms, gradients = backward(any_learner, method, 100)
    parts = parts_by_hand(any_learner)
    expected = torch.cat(parts["qa_new"]).mean() + 0.25 * torch.cat(parts["lm_new"]).mean()
    question, text = PSEUDO
    marked = (question.marker, question.prompt + question.target, True), (text.marker, text.target, False)
    qa = torch.cat(
        [
            divergences(any_learner, teacher, question.prompt, question.target, ends=True),
            divergences(any_learner, teacher, "", text.target, ends=False),
        ]
    )
    lm = torch.cat([divergences(any_learner, teacher, read, whole, ends=ends) for read, whole, ends in marked])
    distance = 0.7 * (qa.mean() + 0.25 * lm.mean())
    assert distance > 0.01
    torch.testing.assert_close(terms["pseudo_distillation"], distance.detach(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(terms["loss"], (expected + distance).detach(), rtol=1e-4, atol=1e-4)
    for gradient, value in zip(
        gradients, torch.autograd.grad(expected + distance, any_learner.trainable()), strict=True
    ):
        torch.testing.assert_close(gradient, value, rtol=2e-3, atol=5e-4)


@pytest.mark.parametrize("size", [1, 3])
def test_micro_batches_do_not_change_it(tiny_llama: Learner, size: int) -> None:
    method = distilled()
    in_the_second_task(tiny_llama, method)
    moved(tiny_llama)
    saved, results = method.state_dict(), []
    for micro_batch_size in (100, size):
        method.load_state_dict(saved)
        results.append(backward(tiny_llama, method, micro_batch_size))
    for name, value in results[0][0].items():
        torch.testing.assert_close(results[1][0][name], value, rtol=1e-5, atol=1e-5)
    for one, other in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_the_tokens_of_pseudo_examples_are_no_targets(tiny_llama: Learner) -> None:
    """Without the divergence and the LM part only the new examples are learned, whatever was generated."""
    method = distilled(0.0, 0.0)
    in_the_second_task(tiny_llama, method)
    _, gradients = backward(tiny_llama, method, 2)
    _, plain = backward(tiny_llama, FineTune(trainable=FULL), 2)
    for one, other in zip(gradients, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_teacher_is_shown_the_pseudo_rows_only(tiny_llama: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    method = distilled()
    in_the_second_task(tiny_llama, method)
    forward, shown = tiny_llama.forward, list[Batch]()

    def noted(batch: Batch, **given: Any) -> Outputs:
        shown.append(batch)
        return forward(batch, **given)

    monkeypatch.setattr(tiny_llama, "forward", noted)
    backward(tiny_llama, method, 100)
    student, teacher = shown
    assert len(student.ids) == 8
    assert sorted(teacher.ids) == ["marked-text/pseudo-1-0", "marked-text/pseudo-1-1", "pseudo-1-0", "pseudo-1-1"]
    assert teacher.replayed.all()


def test_the_teacher_counts_as_stored_from_task_two(tiny_gpt2: Learner) -> None:
    method = started(tiny_gpt2, distilled(trainable=LORA))
    method.before_task(tiny_gpt2, TASKS[0])
    assert method.storage_bytes() == 0 and not method.teacher and not method.pseudo
    method.after_task(tiny_gpt2, TASKS[0])
    assert method.storage_bytes() == 4 * sum(p.numel() for p in tiny_gpt2.trainable()) + len("Task north:\n")


@pytest.mark.parametrize("trainable", [FULL, LORA], ids=["full", "lora"])
def test_a_killed_run_continues_bit_for_bit(make_learner: Callable[[str], Learner], trainable: Trainable) -> None:
    for family in ("llama", "gpt2"):
        assert_survives_a_kill(partial(make_learner, family), lambda: distilled(trainable=trainable))


def test_without_pseudo_examples_and_lm_part_it_is_finetuning(make_learner: Callable[[str], Learner]) -> None:
    for family in ("llama", "gpt2"):
        gradient_parts.assert_is_finetuning(make_learner, family, distilled(lm_weight=0.0, ratio=0.0))


@pytest.mark.parametrize("wrong", [{"weight": -1.0}, {"temperature": 0.0}, {"lm_weight": -0.1}, {"top_k": 0}])
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        distilled(**wrong)
