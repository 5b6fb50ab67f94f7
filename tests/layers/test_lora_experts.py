"""Gated experts are added to frozen linear layers; a new group of them changes nothing, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Example
from cmt_cli.layers import lora_experts
from cmt_cli.layers.architecture import linear_layers
from cmt_cli.layers.lora_experts import ExpertMixture, LoraExperts, gates
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.methods.sequential.finetune import FineTune
from tests.methods.task_sequences import assert_survives_a_kill

IDS = torch.tensor([[5, 6, 7, 8]])
EXAMPLES = [Example("a", "Question: Where?\nAnswer:", " Lagos"), Example("b", "", "The mayor of Turin moved to Oslo.")]


def experts(**changes: Any) -> LoraExperts:
    values: dict[str, Any] = {"num_experts": 2, "rank": 2, "alpha": 8.0, "targets": "query_value", "seed": 0}
    return LoraExperts(**(values | changes))


def logits(learner: Learner) -> Tensor:
    with torch.no_grad():
        return learner.model(input_ids=IDS).logits


def fill(parameters: Iterable[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)


def test_gates_are_a_softmax_without_newer_experts() -> None:
    hidden = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    old, new = torch.tensor([[math.log(2), 0.0], [0.0, math.log(3)]]), torch.tensor([[math.log(4), math.log(5)]])
    first, second = gates(hidden, [old, new])
    # exponentials of the logits: 1 (frozen), 2, 1 and 4 for the first token; 1, 1, 3 and 5 for the second
    assert torch.allclose(first, torch.tensor([[2 / 4, 1 / 4], [1 / 5, 3 / 5]]))
    assert torch.allclose(second, torch.tensor([[4 / 8], [5 / 10]]))
    assert torch.equal(gates(hidden, [old])[0], first)  # no old gate depends on a newer row
    assert torch.allclose(gates(hidden, [old * 0, new * 0])[1], torch.full((2, 1), 1 / 4))


def test_update_is_the_gated_sum_of_low_rank_products() -> None:
    mixture = ExpertMixture(2, 3, rank=1, scale=2.0)
    mixture.grow(2, torch.Generator().manual_seed(0), torch.device("cpu"))
    with torch.no_grad():
        mixture.down[0].copy_(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        mixture.up[0].copy_(torch.tensor([[1.0, 0.0], [0.0, 10.0], [2.0, 0.0]]))
        mixture.router[0].copy_(torch.tensor([[0.0, 0.0], [math.log(2) / 3, 0.0]]))
    # gates 1 / (1 + 1 + 2) and 2 / 4; the experts read 3 and 3 + 4
    expected = [2.0 * 0.25 * 3 * 1, 2.0 * 0.5 * 7 * 10, 2.0 * 0.25 * 3 * 2]
    assert mixture(torch.tensor([3.0, 4.0])).tolist() == pytest.approx(expected)


def test_constant_gates_equal_products_added_to_the_weights(
    any_learner: Learner,
) -> None:
    merged, base = any_learner.frozen_copy(), logits(any_learner)
    experts().grow(any_learner)
    experts().grow(any_learner)
    mixtures = lora_experts.mixtures(any_learner)
    for seed, mixture in enumerate(mixtures):  # routers stay 0: gates are 1 / 3 and 1 / 5
        fill([*mixture.down, *mixture.up], seed)
    with torch.no_grad():
        for mixture, module in zip(mixtures, linear_layers(merged.model, "query_value").values(), strict=True):
            update = sum(4.0 / n * up @ down for n, up, down in zip((3, 5), mixture.up, mixture.down, strict=True))
            module.weight += update.T if type(module).__name__ == "Conv1D" else update
    assert torch.allclose(logits(any_learner), logits(merged), atol=1e-3)
    assert not torch.allclose(logits(any_learner), base, atol=1e-2)


def test_growth_preserves_logits_and_trains_the_new_group(any_learner: Learner) -> None:
    base = before = logits(any_learner)
    for seed in range(4):
        added = experts().grow(any_learner)
        assert torch.equal(logits(any_learner), before)
        assert {id(p) for p in any_learner.trainable()} == {id(p) for p in added}
        fill(added, seed)
        before = logits(any_learner)
    assert not torch.allclose(before, base, atol=1e-2)
    assert lora_experts.num_groups(any_learner) == 4


def test_the_newest_group_can_be_bypassed_and_removed(any_learner: Learner) -> None:
    fill(experts().grow(any_learner), 0)
    before = logits(any_learner)
    fill(experts().grow(any_learner), 1)
    after = logits(any_learner)
    with lora_experts.without_newest(any_learner):
        assert torch.equal(logits(any_learner), before)
    assert torch.equal(logits(any_learner), after) and not torch.allclose(after, before)
    lora_experts.shrink(any_learner)
    assert torch.equal(logits(any_learner), before)


def test_routers_and_experts_of_every_layer_take_gradients(any_learner: Learner) -> None:
    added = experts().grow(any_learner)
    fill(added, 0)
    any_learner.model(input_ids=IDS).logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in added)
    assert sum(p.grad is not None for p in any_learner.model.parameters()) == len(added)


def test_the_start_is_seeded_and_differs_between_groups(make_learner: Callable[[str], Learner]) -> None:
    downs = [experts(seed=seed).grow(make_learner("llama"))[0] for seed in (0, 0, 1)]
    assert torch.equal(downs[0], downs[1]) and not torch.equal(downs[0], downs[2])
    assert 0 < downs[0].abs().max() <= downs[0].shape[1] ** -0.5
    learner = make_learner("llama")
    assert not torch.equal(experts().grow(learner)[0], experts().grow(learner)[0])


def test_a_frozen_copy_has_experts_of_its_own(any_learner: Learner) -> None:
    added = experts().grow(any_learner)
    fill(added, 0)
    before, teacher = logits(any_learner), any_learner.frozen_copy()
    fill(added, 1)
    fill(experts().grow(any_learner), 2)
    assert torch.equal(logits(teacher), before)
    assert not torch.allclose(logits(any_learner), before)


def test_a_half_precision_base_keeps_the_experts_in_float32(tiny_llama: Learner) -> None:
    tiny_llama.model.to(torch.bfloat16)
    tiny_llama.dtype = torch.bfloat16
    added = experts().apply(tiny_llama)
    batch = tiny_llama.collate([row for example in EXAMPLES for row in tiny_llama.rows(example)])
    tiny_llama.forward(batch).token_nll.sum().backward()
    assert all(p.dtype is torch.float32 and p.grad is not None for p in added)


def test_another_method_finds_no_linear_layer_in_an_expert(any_learner: Learner) -> None:
    num = len(Lora(rank=1, alpha=1.0, targets="all", seed=0).apply(any_learner.frozen_copy()))
    experts().apply(any_learner)
    assert len(Lora(rank=1, alpha=1.0, targets="all", seed=0).apply(any_learner)) == num


def test_a_killed_mixture_fit_continues_bit_for_bit(make_learner: Callable[[str], Learner]) -> None:
    assert_survives_a_kill(lambda: make_learner("gpt2"), lambda: FineTune(trainable=experts()))
