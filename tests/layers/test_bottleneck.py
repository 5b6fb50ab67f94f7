"""Bottleneck adapters compute h + up relu(down n(h)), start as nothing and alone are trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.layer_checkpoints import decoder_blocks
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Example
from cmt_cli.layers.bottleneck import Bottleneck, BottleneckAdapter
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.methods.sequential.finetune import FineTune
from tests.methods.task_sequences import assert_survives_a_kill

IDS = torch.tensor([[5, 6, 7, 8]])
EXAMPLES = [Example("a", "Question: Where?\nAnswer:", " Lagos"), Example("b", "", "The mayor of Turin moved to Oslo.")]
PLACES = [["block"], ["mlp"], ["attention", "mlp"]]


def bottleneck(**changes: Any) -> Bottleneck:
    values: dict[str, Any] = {"width": 3, "places": ["block"], "layer_norm": True, "seed": 0}
    return Bottleneck(**(values | changes))


def logits(learner: Learner) -> Tensor:
    with torch.no_grad():
        return learner.model(input_ids=IDS).logits


def fill(learner: Learner) -> list[BottleneckAdapter]:
    generator = torch.Generator().manual_seed(1)
    adapters = [module for module in learner.model.modules() if isinstance(module, BottleneckAdapter)]
    with torch.no_grad():
        for parameter in (p for adapter in adapters for p in adapter.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return adapters


def test_an_adapter_adds_what_passes_its_bottleneck() -> None:
    adapter = BottleneckAdapter(2, 2, layer_norm=False)
    with torch.no_grad():
        adapter.down.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        adapter.down_bias.copy_(torch.tensor([1.0, 0.0]))
        adapter.up.copy_(torch.tensor([[2.0, 5.0], [0.0, 7.0]]))
        adapter.up_bias.copy_(torch.tensor([0.0, 10.0]))
    # relu([3 + 4 + 1, 3 - 4]) = [8, 0]
    assert adapter(torch.tensor([[3.0, 4.0]])).tolist() == [[3.0 + 2 * 8, 4.0 + 10]]


def test_the_norm_comes_before_the_bottleneck() -> None:
    adapter = BottleneckAdapter(2, 1, layer_norm=True)
    with torch.no_grad():
        adapter.down.copy_(torch.tensor([[0.0, 1.0]]))
        adapter.up.copy_(torch.tensor([[1.0], [0.0]]))
    assert adapter(torch.tensor([[10.0, 30.0]])).tolist() == [[pytest.approx(11.0, abs=1e-4), 30.0]]


class Followed(nn.Module):
    """A module and an adapter written with torch's own layers, behind it."""

    def __init__(self, module: nn.Module, adapter: BottleneckAdapter) -> None:
        super().__init__()
        down, up = nn.Linear(*adapter.down.shape[::-1]), nn.Linear(*adapter.up.shape[::-1])
        down.weight, down.bias, up.weight, up.bias = adapter.down, adapter.down_bias, adapter.up, adapter.up_bias
        self.module, self.network = module, nn.Sequential(adapter.norm or nn.Identity(), down, nn.ReLU(), up)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.module(*args, **kwargs)
        hidden, *rest = output if isinstance(output, tuple) else (output,)
        hidden = hidden + self.network(hidden)
        return (hidden, *rest) if rest else hidden


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("places", PLACES, ids="+".join)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_bottlenecks_apply_a_network_behind_their_places(
    make_learner: Callable[[str], Learner], family: str, places: list[str], layer_norm: bool
) -> None:
    learner, other = make_learner(family), make_learner(family)
    base = logits(learner)
    bottleneck(places=places, layer_norm=layer_norm).apply(learner)
    adapters = iter(fill(learner))
    names = {"llama": {"attention": "self_attn", "mlp": "mlp"}, "gpt2": {"attention": "attn", "mlp": "mlp"}}[family]
    blocks = other.model.model.layers if family == "llama" else other.model.transformer.h
    for i, block in enumerate(blocks):
        for place in places:  # in the order of the block's children
            if place == "block":
                blocks[i] = Followed(block, next(adapters))
            else:
                setattr(block, names[place], Followed(getattr(block, names[place]), next(adapters)))
    assert torch.allclose(logits(learner), logits(other), atol=1e-4)
    assert not torch.allclose(logits(learner), base, atol=1e-2)


@pytest.mark.parametrize("places", PLACES, ids="+".join)
def test_adapters_start_as_nothing_and_alone_are_trained(any_learner: Learner, places: list[str]) -> None:
    before = logits(any_learner)
    added = bottleneck(places=places).apply(any_learner)
    assert torch.equal(logits(any_learner), before)
    assert {id(p) for p in any_learner.trainable()} == {id(p) for p in added}
    hidden, num_places = any_learner.hidden_size, len(places) * len(decoder_blocks(any_learner.model))
    assert sum(p.numel() for p in added) == num_places * (2 * hidden * 3 + 3 + hidden + 2 * hidden)
    any_learner.model(input_ids=IDS).logits.sum().backward()
    assert all(p.grad is not None for p in added)
    assert sum(p.grad is not None for p in any_learner.model.parameters()) == len(added)


def test_the_start_is_seeded(make_learner: Callable[[str], Learner]) -> None:
    downs = [
        next(p for p in bottleneck(seed=seed).apply(make_learner("llama")) if p.shape == (3, 32)) for seed in (0, 0, 1)
    ]
    assert torch.equal(downs[0], downs[1]) and not torch.equal(downs[0], downs[2])
    assert 0 < downs[0].abs().max() <= 32**-0.5


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_recorded_hidden_states_are_what_the_next_block_reads(
    make_learner: Callable[[str], Learner], family: str
) -> None:
    learner = make_learner(family)
    learner.model(input_ids=IDS, output_hidden_states=True)  # installs the recording hooks before the adapters'
    bottleneck().apply(learner)
    fill(learner)
    read = []
    decoder_blocks(learner.model)[1].register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    recorded = learner.model(input_ids=IDS, output_hidden_states=True).hidden_states
    assert torch.equal(recorded[1], read[0])


def test_a_frozen_copy_has_adapters_of_its_own(any_learner: Learner) -> None:
    bottleneck().apply(any_learner)
    before, teacher = logits(any_learner), any_learner.frozen_copy()
    fill(any_learner)
    assert torch.equal(logits(teacher), before)
    assert not torch.allclose(logits(any_learner), before)


def test_the_learners_state_is_the_adapters_and_restores_them(any_learner: Learner) -> None:
    fresh = any_learner.frozen_copy()
    added = bottleneck().apply(any_learner)
    fill(any_learner)
    state = any_learner.state_dict()
    assert len(state) == len(added)
    bottleneck(seed=9).apply(fresh)
    fresh.load_state_dict(state)
    assert torch.equal(logits(fresh), logits(any_learner))


def test_a_half_precision_base_keeps_the_adapters_in_float32(tiny_llama: Learner) -> None:
    tiny_llama.model.to(torch.bfloat16)
    tiny_llama.dtype = torch.bfloat16
    added = bottleneck().apply(tiny_llama)
    batch = tiny_llama.collate([row for example in EXAMPLES for row in tiny_llama.rows(example)])
    tiny_llama.forward(batch).token_nll.sum().backward()
    assert all(p.dtype is torch.float32 and p.grad is not None for p in added)
    assert tiny_llama.model.get_input_embeddings().weight.dtype is torch.bfloat16


def test_another_method_finds_no_linear_layer_in_an_adapter(any_learner: Learner) -> None:
    num = len(Lora(rank=1, alpha=1.0, targets="all", seed=0).apply(any_learner.frozen_copy()))
    bottleneck().apply(any_learner)
    assert len(Lora(rank=1, alpha=1.0, targets="all", seed=0).apply(any_learner)) == num


def test_a_killed_adapter_fit_continues_bit_for_bit(make_learner: Callable[[str], Learner]) -> None:
    assert_survives_a_kill(lambda: make_learner("gpt2"), lambda: FineTune(trainable=bottleneck()))


def test_unknown_places_and_second_adapters_are_refused(tiny_llama: Learner) -> None:
    with pytest.raises(UserError, match="places='mpl'"):
        bottleneck(places=["mpl"]).apply(tiny_llama)
    bottleneck().apply(tiny_llama)
    with pytest.raises(ValueError, match="already"):
        bottleneck().apply(tiny_llama)
