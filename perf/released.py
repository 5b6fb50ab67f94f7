"""What MAC's released code computes, as plainly as it can be written: the reference of `adaptation.py`.

Documents are padded to 1,022 tokens; for every question, alone in its batch, the keys and values of the whole bank are
projected again in every block; answers are generated without a cache. The weights are those of our layers, so that the
results can be compared: the encoder's mask is passed to the decoder too, and groups of memories cover the whole bank.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cmt_cli.layers.aggregation import CrossAttention
from cmt_cli.layers.compressor import T5Compressor

PADDED_TOKENS = 1022
BATCH = 16  # documents per forward pass


def encode(compressor: T5Compressor, documents: list[list[int]]) -> Tensor:
    """Return the memories `[docs, slots, width]` of token sequences, every one padded to 1,022 tokens."""
    memories = []
    for start in range(0, len(documents), BATCH):
        part = documents[start : start + BATCH]
        ids = torch.tensor([[*ids, *[0] * (PADDED_TOKENS - len(ids))] for ids in part])
        mask = torch.tensor([[1] * len(ids) + [0] * (PADDED_TOKENS - len(ids)) for ids in part])
        soft = compressor.soft_tokens.expand(len(part), -1, -1)
        states = compressor.t5(input_ids=ids, attention_mask=mask, decoder_inputs_embeds=soft).last_hidden_state
        memories.append(torch.stack([_slot(compressor, states[:, t], t) for t in range(compressor.num_slots)], dim=1))
    return torch.cat(memories)


def _slot(compressor: T5Compressor, state: Tensor, t: int) -> Tensor:
    own = compressor.outputs
    return (own.norm(state) @ own.first[t]).tanh() @ own.second[t] + state @ own.skip[t]


def aggregate(aggregator: CrossAttention, state: Tensor, memories: Tensor) -> Tensor:
    """Return `[1, slots, width]` for one question's state of that shape and memories `[docs, slots, width]`."""
    bank = aggregator.norm_memory(memories.flatten(0, 1))[None]
    block: Any
    for block in aggregator.blocks:
        state = state + _attend(block, block.norm_query(state), bank)
        state = state + block.ffn_out(F.gelu(block.ffn_in(block.norm_ffn(state))))
    return state


def _attend(block: Any, query: Tensor, bank: Tensor) -> Tensor:
    heads = block.num_heads
    keys, values = block.key_value(bank).chunk(2, dim=-1)
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (block.query(query), keys, values))
    weights = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(dim=-1)
    return block.output((weights @ v).transpose(1, 2).flatten(2))


def aggregate_in_groups(aggregator: CrossAttention, state: Tensor, memories: Tensor, window: int) -> Tensor:
    """Return `[1, slots, width]`: groups of `window` memories are joined, then the results, until one is left."""
    while len(memories) > 1:
        memories = torch.cat([aggregate(aggregator, state, group) for group in memories.split(window)])
    return memories
