"""One adapter, merged after each task: the start's rows are orthonormal and the merge is a running, damped mean."""

from collections.abc import Callable

import pytest
import torch

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.layers import peft_lora
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.layers.trainable import Full
from cmt_cli.methods.architecture.slao import Slao, merged, orthogonal_rows
from cmt_cli.methods.sequential.finetune import FineTune
from tests.methods.task_sequences import TASKS, assert_survives_a_kill, learn, same, started

LORA = Lora(rank=2, alpha=8.0, targets="query_value", seed=0)


def test_orthogonal_rows_by_hand() -> None:
    found = orthogonal_rows(torch.tensor([[3.0, 4.0, 0.0], [1.0, 0.0, 0.0]]))
    by_gram_schmidt = torch.tensor([[0.6, 0.8, 0.0], [0.8, -0.6, 0.0]])  # (1, 0, 0) - 0.6 (0.6, 0.8, 0), normalized
    assert torch.allclose(found, by_gram_schmidt, atol=1e-6)
    assert torch.allclose(orthogonal_rows(found), found, atol=1e-6)  # unique: already orthonormal rows stay


def test_merging_by_hand() -> None:
    assert merged(torch.tensor([8.0]), torch.tensor([2.0]), 1).item() == 2.0  # the first task replaces the zeros
    assert merged(torch.tensor([8.0]), torch.tensor([2.0]), 4).item() == 5.0  # 8 - 6 / 2


def test_merged_matrices_answer_and_trained_ones_start_tasks(any_learner: Learner) -> None:
    method = started(any_learner, Slao(trainable=LORA))
    pairs = peft_lora.adapter(any_learner, 0)
    learn(any_learner, method, TASKS[0])
    first_down, first_up = pairs[0].down.detach().clone(), pairs[0].up.detach().clone()
    method.before_task(any_learner, TASKS[1])
    assert torch.allclose(pairs[0].down @ pairs[0].down.T, torch.eye(2), atol=1e-5)
    assert torch.equal(pairs[0].down.detach(), orthogonal_rows(first_down))
    assert torch.equal(pairs[0].up.detach(), first_up)
    with torch.no_grad():
        pairs[0].up.add_(1.0)  # stands for learning
    method.after_task(any_learner, TASKS[1])
    assert torch.allclose(pairs[0].up, first_up + 1 / 2**0.5, atol=1e-6)
    assert method.storage_bytes() == 2 * sum(4 * pair.up.numel() for pair in pairs)


def test_the_first_task_is_fine_tuning_of_the_adapter(make_learner: Callable[[str], Learner]) -> None:
    learners = [make_learner("gpt2"), make_learner("gpt2")]
    for learner, kind in zip(learners, (Slao, FineTune), strict=True):
        learn(learner, started(learner, kind(trainable=LORA)), TASKS[0])
    assert same(learners[0].state_dict(), learners[1].state_dict())


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_killed_run_continues_bit_for_bit(make_learner: Callable[[str], Learner], family: str) -> None:
    assert_survives_a_kill(lambda: make_learner(family), lambda: Slao(trainable=LORA))


def test_a_choice_without_adapters_is_refused() -> None:
    with pytest.raises(UserError, match=r"trainable@method\.trainable=lora"):
        Slao(trainable=Full(num_frozen_blocks=0))  # type: ignore[arg-type]
