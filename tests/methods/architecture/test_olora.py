"""The overlap of a new adapter with the old ones is a hand-computed sum; without it O-LoRA is incremental LoRA."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import nn

from cmt_cli.core.learner import Learner
from cmt_cli.layers.peft_lora import Lora, LowRankPair
from cmt_cli.methods.architecture.inc_lora import IncLora
from cmt_cli.methods.architecture.olora import OLora, overlap, total_overlap
from tests.methods.task_sequences import TASKS, assert_survives_a_kill, learn, same, started
from tests.training.sessions import MemorySession, budget, trainer

LORA = Lora(rank=2, alpha=8.0, targets="query_value", seed=0)


def pair(down: Sequence[Sequence[float]], up: Sequence[Sequence[float]] = ((0.0,),)) -> LowRankPair:
    return LowRankPair(nn.Parameter(torch.tensor(down)), nn.Parameter(torch.tensor(up)))


def test_overlap_is_the_sum_of_absolute_row_products() -> None:
    old = torch.tensor([[1.0, 0.0, 2.0], [0.0, -1.0, 0.0]])
    new = torch.tensor([[3.0, 4.0, -1.0], [0.0, 5.0, 0.0]])
    assert overlap(old, new).item() == abs(3 - 2) + 0 + abs(-4) + abs(-5)
    assert overlap(old, torch.tensor([[2.0, 0.0, -1.0]])).item() == 0  # orthogonal rows


def test_all_old_adapters_and_all_layers_count() -> None:
    first = [pair([[1.0, 0.0]]), pair([[0.0, 1.0]])]
    second = [pair([[0.0, 2.0]]), pair([[1.0, 1.0]])]
    new = [pair([[3.0, 5.0]]), pair([[7.0, -1.0]])]
    assert total_overlap([first, second], new).item() == (3 + 10) + (1 + 6)


def test_penalty_weighs_the_newest_adapter_against_older_ones(any_learner: Learner) -> None:
    method = started(any_learner, OLora(trainable=LORA, orthogonality=0.5, norm=0.1))
    batch = any_learner.collate([row for example in TASKS[0].train for row in any_learner.rows(example)])
    method.before_task(any_learner, TASKS[0])
    assert set(method.penalties(any_learner, batch, any_learner.forward(batch))) == {"norm"}
    method.before_task(any_learner, TASKS[1])
    old, new = method.adapters
    found = method.penalties(any_learner, batch, any_learner.forward(batch))
    by_loop = sum(
        abs(float(a @ b)) for p, q in zip(old, new, strict=True) for a in p.down.detach() for b in q.down.detach()
    )
    assert found["orthogonality"].item() == pytest.approx(0.5 * by_loop, rel=1e-5)
    norms = sum(float(p.down.detach().square().sum().sqrt()) for p in new)  # up matrices are 0
    assert found["norm"].item() == pytest.approx(0.1 * norms, rel=1e-5)
    found["orthogonality"].backward()
    assert all(p.down.grad is not None for p in new) and all(p.down.grad is None for p in old)


def test_without_penalties_it_is_incremental_lora(make_learner: Callable[[str], Learner]) -> None:
    learners = [make_learner("llama"), make_learner("llama")]
    methods = [OLora(trainable=LORA, orthogonality=0.0, norm=0.0), IncLora(trainable=LORA)]
    for learner, method in zip(learners, methods, strict=True):
        started(learner, method)
        for task in TASKS:
            learn(learner, method, task)
    assert same(learners[0].state_dict(), learners[1].state_dict())


def test_learning_with_the_penalty_overlaps_less(make_learner: Callable[[str], Learner]) -> None:
    overlaps = {}
    for weight in (0.0, 0.5):
        learner = make_learner("llama")
        method = started(learner, OLora(trainable=LORA, orthogonality=weight, norm=0.0))
        for task in TASKS:
            learn(learner, method, task)
        overlaps[weight] = total_overlap(method.adapters[:1], method.adapters[1]).item()
    assert overlaps[0.5] < overlaps[0.0]


def test_a_killed_run_continues_bit_for_bit(make_learner: Callable[[str], Learner]) -> None:
    assert_survives_a_kill(lambda: make_learner("gpt2"), lambda: OLora(trainable=LORA, orthogonality=0.5, norm=0.1))


class Recorded(OLora):
    """O-LoRA that keeps the gradient of the newest adapter."""

    gradient = torch.empty(0)

    def adjust_gradients(self, learner: Learner) -> None:
        self.gradient = torch.cat([pair.down.grad for pair in self.adapters[-1] if pair.down.grad is not None])


def test_the_penalty_gradient_is_float32_in_a_bf16_fit(make_learner: Callable[[str], Learner]) -> None:
    gradients = {}
    for precision in ("fp32", "bf16"):
        learner = make_learner("llama")
        method = started(learner, Recorded(trainable=LORA, orthogonality=1e4, norm=0.0))  # the nll is nothing beside it
        for task in TASKS:
            method.before_task(learner, task)
        made = trainer(task=budget(num_steps=1, batch_size=2, max_grad_norm=float("inf")), precision=precision)
        method.learn(learner, TASKS[1], made.bind(learner, method, MemorySession()))
        gradients[precision] = method.gradient
    assert (gradients["bf16"] - gradients["fp32"]).norm() < 1e-5 * gradients["fp32"].norm()
