"""Batched decoding with a key/value cache: greedy by default, diverse beams as the papers' setting.

Prompts are left-padded and masked, positions count real tokens only, so that a row's tokens do not depend on the rows
beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cmt_cli.core.prefix import Prefix, model_inputs


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How answers are generated. One beam is greedy; `num_beam_groups` > 1 is diverse beam search."""

    max_new_tokens: int
    batch_size: int
    num_beams: int
    num_beam_groups: int
    diversity_penalty: float


def decode(
    model: Any, input_ids: Tensor, mask: Tensor, prefix: Prefix | None, decoding: Decoding, eos_id: int
) -> list[list[int]]:
    """Continue left-padded prompts `[batch, seq]`; return the new tokens of each row, without the end token."""
    if decoding.num_beams > 1:
        from cmt_cli.core.beam_search import diverse_beams

        return diverse_beams(model, input_ids, mask, prefix, decoding, eos_id)
    return greedy(model, input_ids, mask, prefix, decoding, eos_id)


def greedy(
    model: Any, input_ids: Tensor, mask: Tensor, prefix: Prefix | None, decoding: Decoding, eos_id: int
) -> list[list[int]]:
    """Take the likeliest token at each step; stop when every row has ended."""
    inputs = model_inputs(model, input_ids, mask, prefix)
    out = model(**inputs, use_cache=True, logits_to_keep=1)
    mask, position = inputs["attention_mask"], inputs["position_ids"][:, -1:]
    tokens: list[Tensor] = []
    ended = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
    for step in range(decoding.max_new_tokens):
        chosen = out.logits[:, -1].argmax(dim=-1)
        chosen = torch.where(ended, eos_id, chosen)
        ended = ended | (chosen == eos_id)
        tokens.append(chosen)
        if step + 1 == decoding.max_new_tokens or bool(ended.all()):
            break
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        position = position + 1
        out = model(
            input_ids=chosen[:, None],
            attention_mask=mask,
            position_ids=position,
            past_key_values=out.past_key_values,
            use_cache=True,
        )
    return [until(row, eos_id) for row in torch.stack(tokens, dim=1).tolist()]


def until(ids: list[int], eos_id: int) -> list[int]:
    """Return the tokens before the first end token."""
    return ids[: ids.index(eos_id)] if eos_id in ids else ids
