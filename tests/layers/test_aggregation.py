"""The aggregator: keys and values once per document, a prior over documents, and MAC's whole-bank attention."""

import torch

from cmt_cli.layers.aggregation import CrossAttention, CrossAttentionSettings, slot_mixture


def aggregator(width: int = 8) -> CrossAttention:
    settings = CrossAttentionSettings(num_blocks=2, num_heads=2, head_dim=4, ffn_width=16)
    layer = CrossAttention(width, settings, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # away from the zero start
        for parameter in layer.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return layer


def test_untrained_aggregator_returns_its_input() -> None:
    settings = CrossAttentionSettings(num_blocks=2, num_heads=2, head_dim=4, ffn_width=16)
    layer = CrossAttention(8, settings, seed=0)
    state, memories = torch.randn(3, 2, 8), torch.randn(5, 2, 8)
    assert torch.equal(layer(state, layer.project(memories)[None]), state)


def test_one_shared_bank_equals_a_copy_per_question() -> None:
    layer, state, memories = aggregator(), torch.randn(3, 2, 8), torch.randn(5, 2, 8)
    cached = layer.project(memories)
    assert torch.allclose(layer(state, cached[None]), layer(state, cached.expand(3, -1, -1, -1)), atol=1e-6)


def test_a_prior_of_minus_infinity_removes_a_document() -> None:
    layer, state, memories = aggregator(), torch.randn(3, 2, 8), torch.randn(3, 5, 2, 8)
    prior = torch.zeros(3, 5)
    prior[:, 2] = -torch.inf
    without = memories[:, [0, 1, 3, 4]]
    assert torch.allclose(layer(state, layer.project(memories), prior), layer(state, layer.project(without)), atol=1e-6)


def test_a_prior_of_log_two_counts_a_document_twice() -> None:
    layer, state, memories = aggregator(), torch.randn(1, 2, 8), torch.randn(1, 3, 2, 8)
    prior = torch.tensor([[0.0, 0.0, 2.0]]).clamp(min=1).log()
    doubled = memories[:, [0, 1, 2, 2]]
    assert torch.allclose(layer(state, layer.project(memories), prior), layer(state, layer.project(doubled)), atol=1e-6)


def test_slot_mixture_is_the_weighted_sum_slot_by_slot() -> None:
    memories = torch.tensor([[[[1.0], [10.0]], [[3.0], [30.0]]]])  # one question, two documents, two slots
    prior = torch.tensor([[0.25, 0.75]]).log()
    assert torch.allclose(slot_mixture(memories, prior), torch.tensor([[[2.5], [25.0]]]))
