"""Logits are those of a plain linear or cosine classifier; labels take the reserved rows first."""

import math

import pytest
import torch

from cmt_cli.layers.label_head import LabelHead

CPU = torch.device("cpu")


def head(*, is_cosine: bool = True, num_reserved: int = 0) -> LabelHead:
    return LabelHead(2, is_cosine=is_cosine, num_reserved=num_reserved, seed=0)


def test_cosine_logits() -> None:
    made = head()
    made.grow(["a", "b"], CPU)
    made.rows[0].data = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    # x = (3, 4), |x| = 5: cosines 3 / 5 and (3 + 4) / (5 sqrt 2)
    logits = made(torch.tensor([[3.0, 4.0]]), with_reserved=False)
    assert logits[0].tolist() == pytest.approx([0.6, 7 / (5 * math.sqrt(2))])


def test_linear_logits_have_a_bias() -> None:
    made = head(is_cosine=False)
    made.grow(["a"], CPU)
    made.grow(["b"], CPU)
    made.rows[0].data = torch.tensor([[2.0, 0.0, 0.5]])
    made.rows[1].data = torch.tensor([[1.0, -1.0, 0.0]])
    assert made(torch.tensor([[3.0, 4.0]]), with_reserved=False)[0].tolist() == [6.5, -1.0]


def test_labels_take_reserved_rows_then_fresh_ones() -> None:
    made = head(num_reserved=3)
    reserved = made.reserved.detach().clone()
    features = torch.tensor([[3.0, 4.0]])
    assert made(features, with_reserved=True).shape == (1, 3)
    before = made(features, with_reserved=True)
    made.grow(["a", "b"], CPU)
    assert torch.equal(made(features, with_reserved=True), before)
    assert made(features, with_reserved=False).shape == (1, 2)
    made.grow(["c", "d"], CPU)
    assert made.labels == ["a", "b", "c", "d"] and len(made.reserved) == 0
    assert torch.equal(torch.cat(list(made.rows))[:3], reserved)
    made.shrink()
    assert made.labels == ["a", "b"] and torch.equal(torch.cat([*made.rows, made.reserved])[:3], reserved)
