"""Memories become prefixes of the right shape in every family, and gradients reach them through the frozen model."""

import pytest
import torch

from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Example
from cmt_cli.layers.architecture import key_value_shape
from cmt_cli.layers.injection import KeyValueInjection, MacInjection, SoftInjection
from cmt_cli.methods.amortized.amortizer import InjectionSettings

SETTINGS = [SoftInjection(), KeyValueInjection(inner_width=16), MacInjection(virtual_per_layer=2, inner_width=16)]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("family", ["tiny_llama", "tiny_gpt2", "tiny_qwen"])
def test_prefix_steers_the_frozen_model_and_takes_gradients(
    settings: InjectionSettings, family: str, request: pytest.FixtureRequest
) -> None:
    learner = request.getfixturevalue(family)
    layer = settings.build(learner, 3, 0)
    memory = torch.randn(2, 3, learner.hidden_size, requires_grad=True)
    rows = [row for text in ("ab", "cde") for row in learner.rows(Example(text, "x", text))]
    batch = learner.collate(rows)
    loss = learner.forward(batch, prefix=layer(memory)).token_nll.sum()
    loss.backward()
    assert memory.grad is not None and memory.grad.abs().sum() > 0
    assert all(p.grad is None for p in learner.model.parameters())


def test_key_values_have_the_models_key_value_heads(tiny_llama: Learner) -> None:
    shape = key_value_shape(tiny_llama.model)
    assert shape.num_heads < tiny_llama.model.config.num_attention_heads  # grouped-query attention
    prefix = KeyValueInjection(inner_width=16).build(tiny_llama, 3, 0)(torch.randn(2, 3, tiny_llama.hidden_size))
    key, value = prefix.layers[0]
    assert len(prefix.layers) == shape.num_layers
    assert key.shape == value.shape == (2, shape.num_heads, 3, shape.head_dim)
