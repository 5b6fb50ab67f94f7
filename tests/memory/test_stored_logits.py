"""Stored outputs: what is left of them, and that nothing is lost where everything fits."""

from __future__ import annotations

import math

import pytest
import torch

from cmt_cli.core.losses import kl_divergence
from cmt_cli.memory.stored_logits import comparable, from_state, joined, to_state, top_logits


def logits(seed: int, tokens: int = 4, vocab: int = 10) -> torch.Tensor:
    return 3 * torch.randn(tokens, vocab, generator=torch.Generator().manual_seed(seed))


def test_largest_logits_and_mass_of_the_rest_by_hand() -> None:
    stored = top_logits(torch.tensor([[math.log(2), math.log(5), 0.0, math.log(3)]]), 2)
    assert stored.indices.tolist() == [[1, 3]] and stored.logits.exp().flatten().tolist() == pytest.approx([5, 3])
    assert stored.rest.exp().tolist() == pytest.approx([2 + 1])
    old, latest = comparable(stored, torch.tensor([[0.0, math.log(4), math.log(6), math.log(7)]]))
    assert old.exp().flatten().tolist() == pytest.approx([5, 3, 3])
    assert latest.exp().flatten().tolist() == pytest.approx([4, 7, 1 + 6])


def test_probabilities_of_stored_tokens_are_the_true_ones() -> None:
    stored = top_logits(logits(0), 3)
    old, _ = comparable(stored, logits(1))
    probabilities = logits(0).softmax(-1)
    torch.testing.assert_close(old.softmax(-1)[:, :3], probabilities.gather(1, stored.indices.long()))
    torch.testing.assert_close(old.softmax(-1).sum(-1), torch.ones(4))


@pytest.mark.parametrize("k", [10, 64])
def test_whole_outputs_lose_nothing(k: int) -> None:
    old, latest = comparable(top_logits(logits(0), k), logits(1))
    assert old.shape == (4, 10)
    torch.testing.assert_close(kl_divergence(old, latest), kl_divergence(logits(0), logits(1)))
    torch.testing.assert_close((old - latest).square().mean(-1), (logits(0) - logits(1)).square().mean(-1))


def test_merging_outcomes_never_raises_the_divergence() -> None:
    whole = kl_divergence(logits(0), logits(1))
    parts = [kl_divergence(*comparable(top_logits(logits(0), k), logits(1))) for k in (1, 4, 9)]
    for smaller, greater in zip(parts, [*parts[1:], whole], strict=True):
        assert (smaller <= greater + 1e-5).all()
    torch.testing.assert_close(parts[2], whole)  # a rest of one token is that token


def test_round_trip_and_bytes() -> None:
    kept = {"a": top_logits(logits(0), 3), "b": top_logits(logits(1, tokens=2), 3)}
    restored = from_state(to_state(kept))
    assert list(restored) == ["a", "b"]
    for name, stored in kept.items():
        for one, other in zip(
            (stored.logits, stored.indices, stored.rest),
            (restored[name].logits, restored[name].indices, restored[name].rest),
            strict=True,
        ):
            assert torch.equal(one, other)
    assert from_state(to_state({})) == {}
    assert joined(list(kept.values())).storage_bytes() == 6 * (3 * (4 + 4) + 4)
