"""Adapters are parameters of the model: they compute W + alpha / rank B A, are saved, and grow without a trace."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from cmt_cli.core.exceptions import Interrupted
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Episodes, Example
from cmt_cli.layers import peft_lora
from cmt_cli.layers.architecture import linear_layers
from cmt_cli.layers.peft_lora import Lora, LowRankPair
from cmt_cli.methods.sequential.finetune import FineTune
from cmt_cli.running.restore import FinishedFit
from tests.present import present
from tests.training.sessions import MemorySession, budget, trainer

IDS = torch.tensor([[5, 6, 7, 8]])
EXAMPLES = [Example("a", "Question: Where?\nAnswer:", " Lagos"), Example("b", "", "The mayor of Turin moved to Oslo.")]


def lora(**changes: Any) -> Lora:
    values: dict[str, Any] = {"rank": 2, "alpha": 8.0, "targets": "query_value", "seed": 0}
    return Lora(**(values | changes))


def logits(learner: Learner) -> Tensor:
    with torch.no_grad():
        return learner.model(input_ids=IDS).logits


def fill(pairs: Iterable[LowRankPair], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for pair in pairs:
            pair.down.copy_(torch.randn(pair.down.shape, generator=generator) * 0.1)
            pair.up.copy_(torch.randn(pair.up.shape, generator=generator) * 0.1)


def test_adapters_equal_their_product_added_to_the_weights(any_learner: Learner) -> None:
    merged, base = any_learner.frozen_copy(), logits(any_learner)
    adapters = [lora().grow(any_learner, 0), lora().grow(any_learner, 1)]
    for seed, pairs in enumerate(adapters):
        fill(pairs, seed)
    with torch.no_grad():
        for i, module in enumerate(linear_layers(merged.model, "query_value").values()):
            update = sum((8.0 / 2 * pairs[i].up @ pairs[i].down for pairs in adapters), torch.zeros(()))
            transposed = type(module).__name__ == "Conv1D"
            module.get_parameter("weight").add_(update.T if transposed else update)
    assert torch.allclose(logits(any_learner), logits(merged), atol=1e-4)
    assert not torch.allclose(logits(any_learner), base, atol=1e-2)


def test_an_adapter_starts_as_nothing_and_alone_is_trained(any_learner: Learner) -> None:
    before = logits(any_learner)
    added = lora().apply(any_learner)
    assert torch.equal(logits(any_learner), before)
    assert {id(p) for p in any_learner.trainable()} == {id(p) for p in added}
    assert all(p.dtype is torch.float32 for p in added)
    first = peft_lora.adapter(any_learner, 0)
    fill(first, 0)
    before = logits(any_learner)
    second = lora().grow(any_learner, 1)
    assert torch.equal(logits(any_learner), before)
    assert {id(p) for p in any_learner.trainable()} == {id(p) for p in peft_lora.parameters(second)}
    peft_lora.remove(any_learner, 1)
    assert torch.equal(logits(any_learner), before)


def test_the_start_is_seeded(make_learner: Callable[[str], Learner]) -> None:
    downs = [lora(seed=seed).grow(make_learner("llama"), 0)[0].down for seed in (0, 0, 1)]
    assert torch.equal(downs[0], downs[1])
    assert not torch.equal(downs[0], downs[2])
    assert downs[0].abs().max() <= downs[0].shape[1] ** -0.5


def test_the_learners_state_is_the_adapter_and_restores_it(any_learner: Learner) -> None:
    fresh = any_learner.frozen_copy()
    pairs = lora().grow(any_learner, 0)
    fill(pairs, 0)
    state = any_learner.state_dict()
    assert len(state) == 2 * len(pairs)
    lora(seed=9).apply(fresh)
    fresh.load_state_dict(state)
    assert torch.equal(logits(fresh), logits(any_learner))


def test_a_fit_that_was_killed_continues_bit_for_bit(make_learner: Callable[[str], Learner]) -> None:
    def fit(session: MemorySession) -> dict[str, Tensor] | None:
        learner, method = make_learner("gpt2"), FineTune(trainable=lora())
        method.before_stream(learner, Episodes(), FinishedFit())
        bound = trainer(task=budget(num_steps=4, batch_size=1, learning_rate=1e-2)).bind(learner, method, session)
        try:
            bound.on_examples(EXAMPLES)
        except Interrupted:
            return None
        return learner.state_dict()

    whole, stopped = present(fit(MemorySession())), MemorySession(stop_after=2)
    assert fit(stopped) is None
    continued = present(fit(MemorySession(stopped.state)))
    assert all(torch.equal(whole[name], continued[name]) for name in whole)


def test_a_half_precision_base_keeps_the_adapter_in_float32(tiny_llama: Learner) -> None:
    tiny_llama.model.to(torch.bfloat16)
    tiny_llama.dtype = torch.bfloat16
    added = lora().apply(tiny_llama)
    batch = tiny_llama.collate([row for example in EXAMPLES for row in tiny_llama.rows(example)])
    tiny_llama.forward(batch).token_nll.sum().backward()
    assert all(p.dtype is torch.float32 and p.grad is not None for p in added)
    assert tiny_llama.model.get_input_embeddings().weight.dtype is torch.bfloat16
