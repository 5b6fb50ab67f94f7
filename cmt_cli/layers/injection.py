"""Maps from an aggregated memory to a `Prefix` that the frozen model reads.

`SoftTokens`: the slots become soft tokens at the input. `KeyValues`: the slots become keys and values of every layer
through one shared network with a learned vector per layer. `MacHead`: MAC's head, `virtual_per_layer` keys and values
for each layer from separate networks per output token (its size grows with layers * width^2).
With grouped-query attention keys and values have the model's key/value heads, not its query heads.
Shapes: batch, slots, width, layers, heads, head_dim, virtual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from typing_extensions import override

from cmt_cli.core.learner import Learner
from cmt_cli.core.prefix import Prefix
from cmt_cli.layers.aggregation import seeded_linear
from cmt_cli.layers.architecture import key_value_shape


class Injection(Protocol):
    """What an amortizer needs of an injection; implementations are `nn.Module`s."""

    def __call__(self, memory: Tensor) -> Prefix:
        """Turn `[batch, slots, width]` into a prefix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftInjection:
    """Soft tokens at the input."""

    def build(self, learner: Learner, num_slots: int, seed: int) -> SoftTokens:
        """Make the layer for a learner."""
        return SoftTokens(learner)


class SoftTokens(nn.Module):
    """A norm and a linear map to the scale of the model's input embeddings.

    The map starts as a multiple of the identity: with tied embeddings a last-layer state then is read like the words
    that it predicts.
    """

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        width = learner.hidden_size
        scale = learner.model.get_input_embeddings().weight.float().std().item()
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, width)
        with torch.no_grad():
            self.output.weight.copy_(scale * torch.eye(width))
            self.output.bias.zero_()

    @override
    def forward(self, memory: Tensor) -> Prefix:
        """Map `[batch, slots, width]` to soft tokens."""
        return Prefix(embeddings=self.output(self.norm(memory)))


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyValueInjection:
    """Keys and values of every layer from one shared network of size `inner_width`."""

    inner_width: int

    def build(self, learner: Learner, num_slots: int, seed: int) -> KeyValues:
        """Make the layer for a learner."""
        return KeyValues(learner, self.inner_width, seed)


class KeyValues(nn.Module):
    """LN -> Linear(width, inner) + layer vector -> GELU -> Linear(inner, 2 * heads * head_dim), per layer."""

    def __init__(self, learner: Learner, inner_width: int, seed: int) -> None:
        super().__init__()
        self.shape = key_value_shape(learner.model)
        generator = torch.Generator().manual_seed(seed)
        self.norm = nn.LayerNorm(learner.hidden_size)
        self.first = seeded_linear(learner.hidden_size, inner_width, generator)
        layers = torch.randn(self.shape.num_layers, inner_width, generator=generator)
        self.layer_vectors = nn.Parameter(layers)
        self.second = seeded_linear(inner_width, 2 * self.shape.num_heads * self.shape.head_dim, generator)

    @override
    def forward(self, memory: Tensor) -> Prefix:
        """Map `[batch, slots, width]` to `slots` virtual tokens per layer."""
        inner = self.first(self.norm(memory))[:, None] + self.layer_vectors[None, :, None]
        values = self.second(nn.functional.gelu(inner))
        grid = values.unflatten(-1, (2, self.shape.num_heads, self.shape.head_dim))
        return Prefix(
            layers=tuple((g[:, :, 0].transpose(1, 2), g[:, :, 1].transpose(1, 2)) for g in grid.unbind(dim=1))
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class MacInjection:
    """MAC's modulation head: `virtual_per_layer` virtual tokens per layer (2 in the paper's code), inner size 768."""

    virtual_per_layer: int
    inner_width: int

    def build(self, learner: Learner, num_slots: int, seed: int) -> MacHead:
        """Make the layer for a learner."""
        return MacHead(learner, self, num_slots, seed)


class MacHead(nn.Module):
    """Repeat the slots to one per output token, then LN -> Linear -> GELU -> Linear plus a skip, weights per token."""

    source: Tensor  # [outputs], the slot that each output token starts from

    def __init__(self, learner: Learner, settings: MacInjection, num_slots: int, seed: int) -> None:
        super().__init__()
        self.shape, self.virtual = key_value_shape(learner.model), settings.virtual_per_layer
        num_outputs = self.virtual * self.shape.num_layers * 2
        width, out = learner.hidden_size, self.shape.num_heads * self.shape.head_dim
        self.register_buffer("source", torch.arange(num_outputs) % num_slots, persistent=False)
        generator = torch.Generator().manual_seed(seed)

        def uniform(inputs: int, outputs: int) -> nn.Parameter:
            values = torch.rand(num_outputs, inputs, outputs, generator=generator) * 2 - 1
            return nn.Parameter(values * inputs**-0.5)

        self.norm = nn.LayerNorm(width)
        self.first, self.second = uniform(width, settings.inner_width), uniform(settings.inner_width, out)
        self.skip = uniform(width, out) if out != width else None

    @override
    def forward(self, memory: Tensor) -> Prefix:
        """Map `[batch, slots, width]` to `virtual_per_layer` virtual tokens per layer."""
        repeated = memory[:, self.source]
        inner = nn.functional.gelu(torch.einsum("bow,owi->boi", self.norm(repeated), self.first))
        skip = repeated if self.skip is None else torch.einsum("bow,owv->bov", repeated, self.skip)
        values = torch.einsum("boi,oiv->bov", inner, self.second) + skip
        shape = self.shape
        grid = values.unflatten(1, (shape.num_layers, 2, self.virtual)).unflatten(-1, (shape.num_heads, shape.head_dim))
        return Prefix(layers=tuple((g[:, 0].transpose(1, 2), g[:, 1].transpose(1, 2)) for g in grid.unbind(1)))
