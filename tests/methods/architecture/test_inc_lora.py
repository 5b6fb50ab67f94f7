"""One adapter per task: growing changes nothing, old adapters stay, their sum answers."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.layers import peft_lora
from cmt_cli.layers.peft_lora import Lora, LowRankPair
from cmt_cli.layers.trainable import Full
from cmt_cli.methods.architecture.inc_lora import IncLora
from cmt_cli.methods.sequential.finetune import FineTune
from tests.methods.task_sequences import TASKS, assert_survives_a_kill, learn, logits, same, started

LORA = Lora(rank=2, alpha=8.0, targets="query_value", seed=0)


def values(pairs: Sequence[LowRankPair]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in peft_lora.parameters(pairs)]


def test_growing_leaves_the_logits_unchanged_and_old_adapters_frozen(any_learner: Learner) -> None:
    method = started(any_learner, IncLora(trainable=LORA))
    learn(any_learner, method, TASKS[0])
    first, before = values(method.adapters[0]), logits(any_learner)
    method.before_task(any_learner, TASKS[1])
    assert torch.equal(logits(any_learner), before)
    method.load_state_dict({"num_adapters": 1})
    learn(any_learner, method, TASKS[1])
    assert all(torch.equal(a, b) for a, b in zip(first, values(method.adapters[0]), strict=True))
    assert not torch.allclose(logits(any_learner), before)
    assert method.storage_bytes() == sum(4 * value.numel() for value in first)  # all but the newest, in float32


def test_the_first_task_is_fine_tuning_of_one_adapter(make_learner: Callable[[str], Learner]) -> None:
    learners = [make_learner("gpt2"), make_learner("gpt2")]
    for learner, kind in zip(learners, (IncLora, FineTune), strict=True):
        learn(learner, started(learner, kind(trainable=LORA)), TASKS[0])
    assert same(learners[0].state_dict(), learners[1].state_dict())


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_killed_run_continues_bit_for_bit(make_learner: Callable[[str], Learner], family: str) -> None:
    assert_survives_a_kill(lambda: make_learner(family), lambda: IncLora(trainable=LORA))


def test_a_choice_without_adapters_is_refused() -> None:
    with pytest.raises(UserError, match=r"trainable@method\.trainable=lora"):
        IncLora(trainable=Full(num_frozen_blocks=0))  # type: ignore[arg-type]
