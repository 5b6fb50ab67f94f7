"""Virtual tokens in front of a prompt: soft input embeddings, or keys and values for every layer.

Lester et al. 2021 (arXiv 2104.08691) for the input form, Liu et al. 2022 (P-tuning v2, arXiv 2110.07602) for the other.
"""

from __future__ import annotations

import functools
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
    is_fixed: bool  # every sequence gets the same prefix

    def prefix(self, input_ids: Tensor, is_prompt: Tensor) -> Prefix | None:
        """Return the rows' prefix, or None for none.

        `input_ids` are `[batch, seq]`. `is_prompt` `[batch, seq]` marks the tokens of the questions: a prefix that
        depends on more would know the answer.
        """


def model_inputs(model: Any, input_ids: Tensor, attention_mask: Tensor, prefix: Prefix | None) -> dict[str, Any]:
    """Return the keyword arguments of a first forward pass over `[batch, seq]` tokens behind an optional prefix.

    The virtual tokens stand next to a row's first real token, behind its padding: a sliding window, ALiBi and a
    recurrent layer count places, so that a gap would change what they see. A key/value prefix goes in as a
    `DynamicCache`, which the forward pass extends: it is made anew for each call.
    Raises UserError where the model would leave such a prefix out: gradient checkpointing, in training mode.
    """
    num_virtual = prefix.num_virtual if prefix is not None else 0
    positions = (attention_mask.cumsum(dim=1) - 1).clamp(min=0) + num_virtual
    if prefix is None:
        return {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": positions}
    mask = torch.cat([attention_mask.new_ones(len(input_ids), num_virtual), attention_mask], dim=1)
    num_padding = _num_padding(attention_mask)
    places = None if num_padding is None else _padding_first(num_padding, num_virtual, attention_mask.shape[1])
    if places is not None:
        mask = mask.gather(1, places)
    if prefix.embeddings is not None:
        embedded = model.get_input_embeddings()(input_ids)
        embedded = torch.cat([prefix.embeddings.to(embedded.dtype), embedded], dim=1)
        if places is not None:
            embedded = embedded.gather(1, places[:, :, None].expand_as(embedded))
        # Of real tokens these are the numbers above, with the virtual ones at 0..virtual - 1.
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        return {"inputs_embeds": embedded, "attention_mask": mask, "position_ids": positions}
    if model.training and model.is_gradient_checkpointing:
        raise UserError(
            "Gradient checkpointing drops a memory of keys and values from the forward pass, silently, while the model "
            "is in training mode. Leave the model in evaluation mode, as `Learner` does, switch gradient checkpointing "
            "off, or use a method whose memory is virtual tokens (injection=soft)."
        )
    cache = DynamicCache(config=model.config)
    for layer, (key, value) in enumerate(prefix.layers):
        cache.update(key.to(model.dtype), value.to(model.dtype), layer)
        if num_padding is not None:
            _pad_in_front_of(cache.layers[layer], num_padding)
    return {
        "input_ids": input_ids,
        "attention_mask": mask,
        "position_ids": positions,
        **key_values.given(model, cache),
    }


def _num_padding(attention_mask: Tensor) -> Tensor | None:
    """Return how many tokens stand before each row's first real one, `[batch, 1]`; None where no row has any."""
    if bool(attention_mask[:, 0].all()):
        return None
    return (attention_mask.cumsum(dim=1) == 0).sum(dim=1, keepdim=True)


def _padding_first(num_padding: Tensor, num_front: int, num_tokens: int) -> Tensor:
    """Return which of [front, tokens] stands at each place once padding is in front, `[batch, front + tokens]`."""
    place = torch.arange(num_front + num_tokens, device=num_padding.device).expand(len(num_padding), -1)
    behind = torch.where(place < num_padding + num_front, place - num_padding, place)
    return torch.where(place < num_padding, place + num_front, behind)


def _pad_in_front_of(layer: Any, num_padding: Tensor) -> None:
    """Let the next keys and values that a cache layer takes up move the row's padding in front of what it holds.

    The prompt's tokens keep their places, so that the causal mask stays right. A sliding layer may hold only the last
    of the virtual tokens: those before them are out of every prompt token's sight.
    """
    layer.num_padding = num_padding
    layer.__class__ = _padded(layer.__class__)  # and no function of this one layer, so that its copies do the same


@functools.cache
def _padded(kind: Any) -> Any:
    def update(self: Any, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        self.__class__ = kind  # from here on
        held = self.keys.shape[2]
        places = _padding_first(self.num_padding, held, key_states.shape[2])[:, None, :, None]
        both = torch.cat([self.keys, key_states], dim=2), torch.cat([self.values, value_states], dim=2)
        keys, values = (states.gather(2, places.expand_as(states)) for states in both)
        self.keys, self.values = keys[:, :, :held], values[:, :, :held]
        taken: tuple[Tensor, Tensor] = self.update(keys[:, :, held:], values[:, :, held:], *args, **kwargs)
        return taken

    return type(f"Padded{kind.__name__}", (kind,), {"update": update})
