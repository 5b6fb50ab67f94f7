"""Trained keys and values in front of every layer: prefix tuning, and P-tuning v2.

    attention of layer l over [K_l; k_l] and [V_l; v_l],    K_l, V_l [kv_heads, virtual, head_dim]

Li & Liang 2021 (arXiv 2101.00190) let a network make them, (K, V) = W_2 tanh(W_1 P' + b_1) + b_2; P-tuning v2 (Liu et
al. 2021, arXiv 2110.07602) trains them directly. Trained directly they start at what the frozen model computes for
drawn tokens, as Li & Liang do where data are few: until it is trained, the prefix acts as these words do. Deviations:
no dropout; the network is kept and run in every forward pass, which gives the same keys and values as storing them.
Everything is float32, cast where the model takes it up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from cmt_cli.core import key_values
from cmt_cli.core.learner import PREFIX_SOURCE, Learner
from cmt_cli.core.prefix import Prefix, model_inputs
from cmt_cli.layers.architecture import KeyValueShape, key_value_shape
from cmt_cli.layers.prompts import TanhNetwork, check_room, drawn_tokens, positive_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefixKeyValues:
    """Keys and values of `num_virtual` positions in every layer, of a network's making if `reparametrization` is set.

    `reparametrization` is the network's width; without it the prefix starts at drawn tokens, see `SoftPrompt`.
    """

    num_virtual: int
    reparametrization: int | None
    num_common: int
    seed: int
    learning_rate: float | None = None  # peak, for budgets that leave theirs open

    def apply(self, learner: Learner) -> list[nn.Parameter]:
        """Add the prefix, which alone is trained, and return its parameters."""
        check_room(learner, positive_tokens(self.num_virtual))
        source: nn.Module
        if self.reparametrization is None:
            ids = drawn_tokens(learner, self.num_virtual, num_common=self.num_common, seed=self.seed)
            source = KeyValuePrefix(activations(learner, ids))
        else:
            generator = torch.Generator().manual_seed(self.seed)
            start = torch.randn(self.num_virtual, learner.hidden_size, generator=generator)
            source = NetworkPrefix(start, self.reparametrization, key_value_shape(learner.model), generator)
        learner.add_prefix(source)
        learner.model.requires_grad_(False)
        return learner.unfreeze(f"{PREFIX_SOURCE}.{name}" for name, _ in source.named_parameters())


class KeyValuePrefix(nn.Module):
    """Trained keys and values themselves (P-tuning v2)."""

    is_fixed = True

    def __init__(self, key_values: Tensor) -> None:
        """Start at `key_values` `[virtual, layers, 2, kv_heads, head_dim]`."""
        super().__init__()
        self.key_values = nn.Parameter(key_values)
        self.num_virtual = len(key_values)

    def prefix(self, input_ids: Tensor, is_prompt: Tensor) -> Prefix:
        """Return the keys and values, the same for every row."""
        return key_value_prefix(self.key_values, len(input_ids))


class NetworkPrefix(nn.Module):
    """Keys and values that a network makes of one vector per position (prefix tuning)."""

    is_fixed = True

    def __init__(self, start: Tensor, width: int, shape: KeyValueShape, generator: torch.Generator) -> None:
        """Start at `start` `[virtual, hidden]`; the network's weights are drawn from `generator`."""
        super().__init__()
        self.num_virtual = len(start)
        self.inputs = nn.Parameter(start)
        self._sizes = (shape.num_layers, 2, shape.num_heads, shape.head_dim)
        self.network = TanhNetwork(start.shape[1], width, torch.Size(self._sizes).numel(), generator)

    def prefix(self, input_ids: Tensor, is_prompt: Tensor) -> Prefix:
        """Return the network's keys and values, the same for every row."""
        return key_value_prefix(self.network(self.inputs).unflatten(1, self._sizes), len(input_ids))


def key_value_prefix(key_values: Tensor, batch_size: int) -> Prefix:
    """Return `[virtual, layers, 2, kv_heads, head_dim]` as the prefix of `batch_size` rows."""
    by_layer = key_values.permute(1, 2, 3, 0, 4)  # [layers, 2, kv_heads, virtual, head_dim]
    rows = [layer[:, None].expand(-1, batch_size, -1, -1, -1) for layer in by_layer]
    return Prefix(layers=tuple((layer[0], layer[1]) for layer in rows))


@torch.no_grad()
def activations(learner: Learner, ids: list[int]) -> Tensor:
    """Return the keys and values of a sequence in float32, `[tokens, layers, 2, kv_heads, head_dim]`."""
    key_value_shape(learner.model)  # refuses layers that differ
    tokens = torch.tensor([ids], device=learner.device)
    with learner.precision():
        inputs = model_inputs(learner.model, tokens, torch.ones_like(tokens), None)
        cache = DynamicCache()  # made without the configuration: a sliding layer keeps all tokens, not its window's
        learner.model(**inputs, use_cache=True, logits_to_keep=1, **key_values.given(learner.model, cache))
    by_layer = [torch.stack([layer.keys[0], layer.values[0]]).to(learner.device) for layer in cache.layers]
    return torch.stack(by_layer).permute(3, 0, 1, 2, 4).float().contiguous()
