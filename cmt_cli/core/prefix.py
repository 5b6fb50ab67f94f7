"""Virtual tokens in front of a prompt: soft input embeddings, or keys and values for every layer.

Lester et al. 2021 (arXiv 2104.08691) for the input form, Liu et al. 2022 (P-tuning v2, arXiv 2110.07602) for the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from cmt_cli.core import key_values
from cmt_cli.core.exceptions import UserError


@dataclass(frozen=True, slots=True)
class Prefix:
    """One memory per row of a batch, in one of two forms.

    `embeddings` `[batch, virtual, hidden]` are placed before the token embeddings. `layers` holds keys and values
    `[batch, kv_heads, virtual, head_dim]` for each layer. Exactly one of the two is given.
    """

    embeddings: Tensor | None = None
    layers: tuple[tuple[Tensor, Tensor], ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError unless exactly one form is given."""
        if (self.embeddings is None) == (not self.layers):
            raise ValueError("A prefix holds exactly one of embeddings and layers.")

    @property
    def num_virtual(self) -> int:
        """Return the number of virtual tokens."""
        return self.embeddings.shape[1] if self.embeddings is not None else self.layers[0][0].shape[2]

    @property
    def batch_size(self) -> int:
        """Return the number of rows."""
        return len(self.embeddings) if self.embeddings is not None else len(self.layers[0][0])

    def rows(self, index: Tensor) -> Prefix:
        """Return the prefix of the rows in `index` `[chosen]`; rows may repeat, as beams do."""
        if self.embeddings is not None:
            return Prefix(embeddings=self.embeddings[index])
        return Prefix(layers=tuple((key[index], value[index]) for key, value in self.layers))


class PrefixSource(Protocol):
    """A part of the model that puts trained virtual tokens in front of every sequence; see `Learner.add_prefix`."""

    num_virtual: int  # the most virtual tokens of a prefix

    def prefix(self, input_ids: Tensor, is_prompt: Tensor) -> Prefix | None:
        """Return the rows' prefix, or None for none.

        `input_ids` are `[batch, seq]`. `is_prompt` `[batch, seq]` marks the tokens of the questions: a prefix that
        depends on more would know the answer.
        """


def model_inputs(model: Any, input_ids: Tensor, attention_mask: Tensor, prefix: Prefix | None) -> dict[str, Any]:
    """Return the keyword arguments of a first forward pass over `[batch, seq]` tokens behind an optional prefix.

    A key/value prefix goes in as a `DynamicCache`, which the forward pass extends: it is made anew for each call.
    Raises UserError where the model would leave such a prefix out: gradient checkpointing, in training mode.
    """
    num_virtual = prefix.num_virtual if prefix is not None else 0
    positions = (attention_mask.cumsum(dim=1) - 1).clamp(min=0) + num_virtual
    if prefix is None:
        return {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": positions}
    ones = attention_mask.new_ones(len(input_ids), num_virtual)
    mask = torch.cat([ones, attention_mask], dim=1)
    if prefix.embeddings is not None:
        embedded = model.get_input_embeddings()(input_ids)
        front = torch.arange(num_virtual, device=positions.device).expand(len(input_ids), -1)
        return {
            "inputs_embeds": torch.cat([prefix.embeddings.to(embedded.dtype), embedded], dim=1),
            "attention_mask": mask,
            "position_ids": torch.cat([front, positions], dim=1),
        }
    if model.training and model.is_gradient_checkpointing:
        raise UserError(
            "Gradient checkpointing drops a memory of keys and values from the forward pass, silently, while the model "
            "is in training mode. Leave the model in evaluation mode, as `Learner` does, switch gradient checkpointing "
            "off, or use a method whose memory is virtual tokens (injection=soft)."
        )
    cache = DynamicCache(config=model.config)
    for layer, (key, value) in enumerate(prefix.layers):
        cache.update(key.to(model.dtype), value.to(model.dtype), layer)
    return {
        "input_ids": input_ids,
        "attention_mask": mask,
        "position_ids": positions,
        **key_values.given(model, cache),
    }
