"""The amortizer of cmt, mac and mbc: compressor, question encoder, aggregator and injection.

A compressor turns a document into a few vectors, a question into a query; an aggregator joins memories into one; an
injection hands it to the frozen language model. Learning a document is one forward pass and an append to the bank.
Shapes: batch (questions), docs, slots, width, key.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from cmt_cli.core.batch import Row
from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.learner import Learner
from cmt_cli.layers.aggregation import CrossAttention, CrossAttentionSettings


class CompressorSettings(Protocol):
    """Settings that build a compressor once the learner is there; see `layers/compressor.py`."""

    def build(self, learner: Learner, seed: int) -> Any:
        """Make the module."""


class InjectionSettings(Protocol):
    """Settings that build an injection layer once the learner is there; see `layers/injection.py`."""

    def build(self, learner: Learner, num_slots: int, seed: int) -> Any:
        """Make the module."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AmortizerSettings:
    """The parts of an amortizer. `question_compressor` None shares the document compressor."""

    compressor: CompressorSettings
    question_compressor: CompressorSettings | None
    aggregator: CrossAttentionSettings
    injection: InjectionSettings
    key_width: int


@dataclass(frozen=True, slots=True)
class Item:
    """One question of the meta-training split with the tokens it needs."""

    document_id: str
    document: tuple[int, ...]
    question: tuple[int, ...]
    row: Row


class Amortizer(nn.Module):
    """Compressor, question encoder, aggregator and injection, everything that meta-training trains."""

    def __init__(self, learner: Learner, settings: AmortizerSettings, seed: int) -> None:
        super().__init__()
        self.compressor = settings.compressor.build(learner, seed)
        other = settings.question_compressor
        self.question_compressor = self.compressor if other is None else other.build(learner, seed + 10)
        width, slots = self.compressor.width, self.compressor.num_slots
        self.aggregator = CrossAttention(width, settings.aggregator, seed + 20)
        self.injection = settings.injection.build(learner, slots, seed + 30)
        generator = torch.Generator().manual_seed(seed + 40)
        self.document_key = SlotKeys(slots, width, settings.key_width, generator)
        # equal at the start: a random projection keeps inner products, two different ones destroy them
        self.question_key = copy.deepcopy(self.document_key)
        self.to(learner.device)

    @property
    def num_slots(self) -> int:
        """Return the number of vectors per memory."""
        return int(self.compressor.num_slots)

    @property
    def width(self) -> int:
        """Return the size of a memory vector."""
        return int(self.compressor.width)

    def encode_documents(self, segments: Sequence[Sequence[int]]) -> Tensor:
        """Compress token sequences to memories `[docs, slots, width]`."""
        return self.compressor(segments)

    def encode_questions(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Compress tokenized prompts to states `[batch, slots, width]`."""
        return self.question_compressor(sequences)

    @torch.no_grad()
    def center(self, items: Sequence[Item]) -> None:
        """Set the biases of keys and queries so that both have mean zero over some items.

        States share a large common part; without this all cosines start near one and matching hardly gets a gradient.
        """
        for layer, encode, texts in (
            (self.document_key, self.encode_documents, [item.document for item in items]),
            (self.question_key, self.encode_questions, [item.question for item in items]),
        ):
            layer.center(encode(texts))

    def keys(self, memories: Tensor) -> Tensor:
        """Return unit-length retrieval keys `[docs, key]` of memories `[docs, slots, width]`."""
        return unit_keys(self.document_key, memories)

    def queries(self, states: Tensor) -> Tensor:
        """Return unit-length retrieval queries `[batch, key]` of question states `[batch, slots, width]`."""
        return unit_keys(self.question_key, states)


def unit_keys(projection: nn.Module, states: Tensor) -> Tensor:
    """Return `projection` of states `[batch, slots, width]` at unit length, `[batch, key]`, in float32.

    Outside autocast: a cosine is divided by a temperature down to 0.01, which makes the rounding of bfloat16 0.2 nats.
    """
    with torch.autocast(states.device.type, enabled=False):
        return F.normalize(projection(states.float()), dim=-1)


class SlotKeys(nn.Module):
    """Projects each slot by its own matrix to its share of a retrieval key.

    An inner product of two keys is then a sum over slots, with as many parameters as one matrix on the mean of the
    slots, which would blend what they hold.
    """

    def __init__(self, num_slots: int, width: int, key_width: int, generator: torch.Generator) -> None:
        """Raise UserError where the slots cannot have equal shares of the key."""
        super().__init__()
        if key_width % num_slots:
            raise UserError(
                f"method.parts.key_width={key_width} is no multiple of the {counted(num_slots, 'slot')} of a memory."
            )
        share = key_width // num_slots
        bound = width**-0.5
        weight = (torch.rand(num_slots, width, share, generator=generator) * 2 - 1) * bound
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(num_slots, share))

    @override
    def forward(self, states: Tensor) -> Tensor:
        """Return `[batch, key]` for states `[batch, slots, width]`."""
        return (torch.einsum("bsw,swk->bsk", states.to(self.weight.dtype), self.weight) + self.bias).flatten(1)

    @torch.no_grad()
    def center(self, states: Tensor) -> None:
        """Set the bias so that the outputs of some states `[n, slots, width]` have mean zero."""
        self.bias.copy_(-torch.einsum("sw,swk->sk", states.mean(dim=0).to(self.weight.dtype), self.weight))
