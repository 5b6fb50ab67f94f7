"""A layer that is run again in the backward pass gives the gradients of one whose activations were kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cmt_cli.core.batch import Row
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.layer_checkpoints import decoder_blocks
from cmt_cli.core.learner import Learner
from cmt_cli.core.prefix import Prefix, model_inputs
from cmt_cli.core.tokens import left_padded
from cmt_cli.layers.bottleneck import Bottleneck
from cmt_cli.layers.lora import LoraLayers
from cmt_cli.layers.lora_experts import LoraExperts
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.layers.prefixes import PrefixKeyValues
from cmt_cli.layers.prompts import SoftPrompt
from cmt_cli.layers.trainable import Full
from tests.models.shapes import PLACES, random_learner, shaped_config

ROWS = [Row("a", (31, 32, 33, 34, 35), 2), Row("b", (41, 42, 43), 1)]
TRAINABLES: dict[str, Any] = {
    "full": Full(num_frozen_blocks=0),
    "lora": Lora(rank=2, alpha=4.0, targets="query_value", seed=0),
    "experts": LoraExperts(num_experts=2, rank=2, alpha=4.0, targets="query_value", seed=0),
    "blocks": Bottleneck(width=3, places=["block"], layer_norm=True, seed=0),
    "parts": Bottleneck(width=3, places=["attention", "mlp"], layer_norm=True, seed=0),
    "prompt": SoftPrompt(num_virtual=3, text=None, num_common=100, seed=0),
    "prefix": PrefixKeyValues(num_virtual=3, reparametrization=None, num_common=100, seed=0),
    "network": PrefixKeyValues(num_virtual=3, reparametrization=4, num_common=100, seed=0),
}


@contextlib.contextmanager
def counted_calls(learner: Learner) -> Iterator[list[int]]:
    """Yield how often each decoder layer's MLP has been begun: torch stops once it has what the backward pass needs."""
    calls = [0] * len(decoder_blocks(learner.model))

    def count(place: int) -> Callable[..., None]:
        def hook(*_: object) -> None:
            calls[place] += 1

        return hook

    parts = [dict(layer.named_children())["mlp"] for layer in decoder_blocks(learner.model)]
    handles = [part.register_forward_pre_hook(count(place)) for place, part in enumerate(parts)]
    yield calls
    for handle in handles:
        handle.remove()


def gradients(learner: Learner, leaves: list[Tensor], loss: Callable[[], Tensor], *, again: bool) -> list[Any]:
    with learner.layer_checkpoints.using(again):
        return list(torch.autograd.grad(loss(), leaves, allow_unused=True))


def assert_same_gradients(learner: Learner, leaves: list[Tensor], loss: Callable[[], Tensor]) -> None:
    kept, again = (gradients(learner, leaves, loss, again=again) for again in (False, True))
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in kept)
    for one, other in zip(kept, again, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)


def loss_of(learner: Learner, prefix: Prefix | None = None) -> Callable[[], Tensor]:
    return lambda: learner.forward(learner.collate(ROWS), prefix=prefix).token_nll.sum()


def key_values(learner: Learner) -> list[tuple[Tensor, Tensor]]:
    config = learner.model.config.get_text_config()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        out = learner.model(input_ids=torch.tensor([[3], [4]]), use_cache=True)
    layers = next(out[name] for name in ("cache", "past_key_values") if name in out).layers
    shape = (2, layers[0].keys.shape[1], 3, layers[0].keys.shape[3])
    drawn = [torch.randn(2, *shape, generator=generator).requires_grad_() for _ in range(config.num_hidden_layers)]
    return [(pair[0], pair[1]) for pair in drawn]


@pytest.mark.parametrize("name", TRAINABLES)
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_gradients_are_those_of_kept_activations(
    make_learner: Callable[[str], Learner], family: str, name: str
) -> None:
    learner = make_learner(family)
    trained = TRAINABLES[name].apply(learner)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))  # many start at 0
    assert_same_gradients(learner, trained, loss_of(learner))


@pytest.mark.parametrize("kind", PLACES)
def test_given_keys_and_values_are_read_again(kind: str) -> None:
    learner = random_learner(shaped_config(kind))
    pairs = key_values(learner)
    leaves = [states for pair in pairs for states in pair]
    assert_same_gradients(learner, leaves, loss_of(learner, Prefix(layers=tuple(pairs))))


def test_padding_in_front_of_keys_is_moved_again(any_learner: Learner) -> None:
    pairs = key_values(any_learner)
    ids, mask = (torch.tensor(part) for part in left_padded([[31, 32, 33], [41]], any_learner.pad_id))

    def loss() -> Tensor:
        inputs = model_inputs(any_learner.model, ids, mask, Prefix(layers=tuple(pairs)))
        with any_learner.layer_checkpoints.entered(any_learner.model):
            logits: Tensor = any_learner.model(**inputs, use_cache=True).logits
        return logits.log_softmax(dim=-1)[:, -1, 7].sum()

    assert_same_gradients(any_learner, [states for pair in pairs for states in pair], loss)


def test_soft_tokens_and_hidden_states_are_the_same(any_learner: Learner) -> None:
    soft = torch.randn(2, 3, any_learner.hidden_size, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def loss() -> Tensor:
        out = any_learner.forward(any_learner.collate(ROWS), prefix=Prefix(embeddings=soft), hidden_states=True)
        assert len(out.hidden_states) == len(decoder_blocks(any_learner.model)) + 1
        return torch.stack([states.square().mean() for states in out.hidden_states]).sum() + out.token_nll.sum()

    assert_same_gradients(any_learner, [soft], loss)


def test_updates_that_were_switched_on_act_again(any_learner: Learner) -> None:
    lora = LoraLayers(any_learner.model, rank=2, alpha=2.0, targets="all", seed=0)
    other = LoraLayers(any_learner.model, rank=2, alpha=2.0, targets="all", seed=1)  # stays off
    with torch.no_grad():
        for up in [*lora.up, *other.up]:
            up.fill_(0.1)

    def loss() -> Tensor:
        with lora.active():
            return loss_of(any_learner)()

    assert_same_gradients(any_learner, list(lora.parameters()), loss)


def test_autocast_and_dropout_are_the_same_again(tiny_gpt2: Learner) -> None:
    trained = TRAINABLES["lora"].apply(tiny_gpt2)
    tiny_gpt2.model.train()  # GPT-2 has dropout, which draws from the global generator

    def loss() -> Tensor:
        torch.manual_seed(0)
        with tiny_gpt2.mixed_precision.using(torch.bfloat16):
            return loss_of(tiny_gpt2)()

    assert_same_gradients(tiny_gpt2, trained, loss)


def test_each_layer_runs_twice_and_once_without_gradients(any_learner: Learner) -> None:
    trained = TRAINABLES["lora"].apply(any_learner)
    loss = loss_of(any_learner)
    with counted_calls(any_learner) as calls, any_learner.layer_checkpoints.using(True):
        with torch.no_grad():
            loss()
        assert set(calls) == {1}
        value = loss()
        assert set(calls) == {2}
        torch.autograd.grad(value, trained)
        assert set(calls) == {3}
    with counted_calls(any_learner) as calls:
        torch.autograd.grad(loss(), trained)
        assert set(calls) == {1}


def test_gradients_may_be_taken_twice(any_learner: Learner) -> None:
    pairs = key_values(any_learner)
    leaves = [states for pair in pairs for states in pair]
    with any_learner.layer_checkpoints.using(True):
        value = loss_of(any_learner, Prefix(layers=tuple(pairs)))()
        first = torch.autograd.grad(value, leaves, retain_graph=True)
        second = torch.autograd.grad(value, leaves)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_less_is_kept_for_the_backward_pass(any_learner: Learner) -> None:
    TRAINABLES["full"].apply(any_learner)

    def bytes_kept(again: bool) -> int:
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            if not isinstance(tensor, nn.Parameter):
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        batch = any_learner.collate([Row("a", tuple(range(20, 84)), 63)] * 4)
        with any_learner.layer_checkpoints.using(again), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss = any_learner.forward(batch).token_nll.sum()
        assert loss.requires_grad
        return sum(kept.values())

    assert bytes_kept(again=True) < 0.25 * bytes_kept(again=False)


def test_a_layers_own_forward_comes_back(tiny_llama: Learner) -> None:
    layers = decoder_blocks(tiny_llama.model)
    wrapped = layers[0].forward
    vars(layers[0])["forward"] = wrapped  # as accelerate does
    checkpoints = tiny_llama.layer_checkpoints
    with pytest.raises(ZeroDivisionError), checkpoints.using(True), checkpoints.entered(tiny_llama.model):
        assert all("forward" in vars(layer) for layer in layers)
        raise ZeroDivisionError
    assert vars(layers[0])["forward"] is wrapped
    assert not any("forward" in vars(layer) for layer in layers[1:])


def test_a_model_without_a_list_of_layers_is_refused(tiny_llama: Learner) -> None:
    tiny_llama.model.config.num_hidden_layers = 7
    with tiny_llama.layer_checkpoints.using(True), pytest.raises(UserError, match=r"trainer\.checkpoint_layers=false"):
        loss_of(tiny_llama)()
