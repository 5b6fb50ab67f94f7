"""Aggregation of memories by cross-attention: many memories and a question in, one memory out.

`CrossAttention` is MAC's aggregator (arXiv 2403.04317): pre-norm blocks c <- c + CA(LN c, LN bank), c <- c + FFN(LN c),
no self-attention, no positions. Keys and values of a document do not depend on the question: `project` computes them
once per document. A log-prior per document is added to the attention logits of its slots (our reading of CMT's top-k
aggregation). Deviation from MAC: the blocks' output projections start at zero, so an untrained aggregator returns its
input.
`slot_mixture`: slot t of the result is the prior-weighted sum of the documents' slot t.
Shapes: batch, slots, width, docs, heads, blocks, inner = heads * head_dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossAttentionSettings:
    """Size of the aggregator: `ffn_width` is the hidden size of the feed-forward part."""

    num_blocks: int
    num_heads: int
    head_dim: int
    ffn_width: int

    @property
    def cache_width(self) -> int:
        """Return the numbers kept per slot: keys and values of every block."""
        return 2 * self.num_blocks * self.num_heads * self.head_dim


class CrossAttention(nn.Module):
    """Blocks of cross-attention from question slots to document slots."""

    def __init__(self, width: int, settings: CrossAttentionSettings, seed: int) -> None:
        super().__init__()
        self.settings = settings
        generator = torch.Generator().manual_seed(seed)
        self.norm_memory = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(_Block(width, settings, generator) for _ in range(settings.num_blocks))

    def project(self, memories: Tensor) -> Tensor:
        """Return the keys and values of all blocks for memories `[..., width]`: `[..., cache_width]`."""
        normed = self.norm_memory(memories)
        return torch.cat([part(normed) for part in self._key_values()], dim=-1)

    def _key_values(self) -> list[nn.Linear]:
        return [cast(_Block, block).key_value for block in self.blocks]

    @override
    def forward(self, state: Tensor, cached: Tensor, log_prior: Tensor | None = None) -> Tensor:
        """Return `[batch, slots, width]`.

        `state` is `[batch, slots, width]`; `cached` `[batch or 1, docs, slots, cache_width]` comes from `project`;
        `log_prior` `[batch, docs]` is added to the logits of each document's slots, -inf leaves a document out.
        """
        bias = None
        if log_prior is not None:
            bias = log_prior.repeat_interleave(cached.shape[2], dim=1)[:, None, None]
        flat = cached.flatten(1, 2)
        for block, part in zip(self.blocks, flat.chunk(len(self.blocks), dim=-1), strict=True):
            state = block(state, part, bias)
        return state


class _Block(nn.Module):
    def __init__(self, width: int, settings: CrossAttentionSettings, generator: torch.Generator) -> None:
        super().__init__()
        inner = settings.num_heads * settings.head_dim
        self.num_heads = settings.num_heads
        self.norm_query, self.norm_ffn = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = seeded_linear(width, inner, generator)
        self.key_value = seeded_linear(width, 2 * inner, generator)
        self.output = seeded_linear(inner, width, generator, zero=True)
        self.ffn_in = seeded_linear(width, settings.ffn_width, generator)
        self.ffn_out = seeded_linear(settings.ffn_width, width, generator, zero=True)

    @override
    def forward(self, state: Tensor, key_value: Tensor, bias: Tensor | None) -> Tensor:
        query = self._heads(self.query(self.norm_query(state)))
        key, value = (self._heads(part) for part in key_value.to(query.dtype).chunk(2, dim=-1))
        shared = len(key) == 1 and bias is None  # one bank for all questions: as one long query it is read once
        if shared:
            query = query.transpose(0, 1).flatten(1, 2)[None]
        batch = len(query)
        attended = F.scaled_dot_product_attention(
            query,
            key.expand(batch, -1, -1, -1),
            value.expand(batch, -1, -1, -1),
            attn_mask=None if bias is None else bias.to(query.dtype),
        )
        if shared:
            attended = attended[0].unflatten(1, state.shape[:2]).transpose(0, 1)
        state = state + self.output(attended.transpose(1, 2).flatten(2))
        return state + self.ffn_out(F.gelu(self.ffn_in(self.norm_ffn(state))))

    def _heads(self, values: Tensor) -> Tensor:
        return values.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def slot_mixture(memories: Tensor, log_prior: Tensor) -> Tensor:
    """Weight memories `[batch, docs, slots, width]` by softmax(log_prior `[batch, docs]`): `[batch, slots, width]`."""
    weights = log_prior.float().softmax(dim=-1)
    return torch.einsum("bd,bdsw->bsw", weights.to(memories.dtype), memories)


def seeded_linear(inputs: int, outputs: int, generator: torch.Generator, *, zero: bool = False) -> nn.Linear:
    """Return a linear layer with weights drawn from `generator` (uniform, +-1/sqrt(inputs)) or zero; zero bias."""
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        weight = (torch.rand(outputs, inputs, generator=generator) * 2 - 1) * inputs**-0.5
        layer.weight.copy_(torch.zeros_like(weight) if zero else weight)
        layer.bias.zero_()
    return layer
