"""Rows of tokens, batches of them, what a forward pass returns, and the protocol of what answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.stream import Answer, Prompt


@dataclass(frozen=True, slots=True)
class Row:
    """One token sequence. The first `num_prompt_tokens` are read, the rest are targets."""

    id: str
    input_ids: tuple[int, ...]
    num_prompt_tokens: int
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rows: `input_ids`, `attention_mask`, `labels` are `[batch, seq]`; unscored tokens are -100."""

    ids: tuple[str, ...]
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    replayed: Tensor  # [batch], True for rows that come from a memory

    @property
    def is_prompt(self) -> Tensor:
        """Return which tokens are read and not scored, `[batch, seq]`; padding is neither."""
        return (self.labels == IGNORED) & self.attention_mask.bool()


def right_padded(rows: Sequence[Row], *, pad_id: int, device: torch.device) -> Batch:
    """Return rows as a batch, padded on the right to the longest one."""
    length = max(len(row.input_ids) for row in rows)
    ids = torch.full((len(rows), length), pad_id)
    mask = torch.zeros(len(rows), length, dtype=torch.long)
    labels = torch.full((len(rows), length), IGNORED)
    for i, row in enumerate(rows):
        tokens = torch.tensor(row.input_ids)
        ids[i, : len(tokens)] = tokens
        mask[i, : len(tokens)] = 1
        labels[i, row.num_prompt_tokens : len(tokens)] = tokens[row.num_prompt_tokens :]
    replayed = torch.tensor([row.replayed for row in rows])
    return Batch(tuple(row.id for row in rows), *(tensor.to(device) for tensor in (ids, mask, labels, replayed)))


@dataclass(frozen=True, slots=True)
class Outputs:
    """One forward pass.

    `token_nll` `[batch, seq]` scores token t at position t; `logits` `[batch, kept, vocab]` are those at the positions
    `kept` `[kept]`; `hidden_states` are `[batch, seq, hidden]` per layer, embeddings first, empty unless requested.
    """

    token_nll: Tensor
    logits: Tensor
    kept: Tensor
    hidden_states: tuple[Tensor, ...] = ()


class Predictor(Protocol):
    """Whatever can answer: a learner, or a wrapper that adds a prefix, passages or tools."""

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
        """Answer each prompt."""

    def loglikelihood(self, prompts: Sequence[Prompt], targets: Sequence[str]) -> list[float]:
        """Return log p(target | prompt) in nats, summed over the target's tokens and the end token.

        A target of running text (`Prompt.is_running_text`) has no end token.
        """
