"""Bottleneck adapters: small residual networks behind parts of every decoder block (Houlsby et al., arXiv 1902.00751).

    h <- h + W_up relu(W_down n(h) + b_down) + b_up,    W_down [width, hidden], W_up [hidden, width] = 0 at the start

n is a layer norm of the adapter's own or the identity. Places: "block" puts one behind each whole block, on the
residual stream, which with the norm is AdapterCL's (Madotto et al. 2021, arXiv 2012.15504, and its code); "mlp" and
"attention" put one behind these parts, before their skip connections: both are Houlsby et al.'s, "mlp" alone is near
Pfeiffer et al.'s (arXiv 2005.00247). W_down's entries are uniform within 1 / sqrt(hidden), seeded. Deviation: W_up and
the biases start at exactly 0 where the papers start near it, so that adding adapters leaves the logits unchanged.

The adapters are float32 parameters of the blocks, added by forward hooks, so that modules keep their names and types
and a quantized base stays as it is. The hooks are bound methods: a deep copy of the model has hooks of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.layer_checkpoints import decoder_blocks
from cmt_cli.core.learner import Learner
from cmt_cli.core.setting_checks import one_of
from cmt_cli.layers.architecture import PARTS_OF_BLOCK

NAME = "bottleneck"  # of the submodule that is added at a place
PLACES = ("block", *PARTS_OF_BLOCK)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bottleneck:
    """Adapters of `width` units at some of `PLACES` in every decoder block; `layer_norm` normalizes what they read."""

    width: int
    places: Sequence[str]
    layer_norm: bool
    seed: int
    learning_rate: float | None = None  # peak, for budgets that leave theirs open

    def apply(self, learner: Learner) -> list[nn.Parameter]:
        """Add the adapters, which alone are trained, and return their parameters."""
        for place in self.places:
            one_of(place, PLACES, "places")
        modules = [module for block in decoder_blocks(learner.model) for module in _places(block, self.places)]
        if any(NAME in module._modules for module in modules):
            raise ValueError("The model has bottleneck adapters already; further ones would replace them.")
        generator = torch.Generator().manual_seed(self.seed)
        adapters = []
        for module in modules:
            adapter = BottleneckAdapter(learner.hidden_size, self.width, layer_norm=self.layer_norm)
            bound = learner.hidden_size**-0.5
            with torch.no_grad():
                adapter.down.copy_((torch.rand(adapter.down.shape, generator=generator) * 2 - 1) * bound)
            module.add_module(NAME, adapter.to(next(module.parameters()).device))
            # First, so that the hidden states which other hooks record are those that the next block reads.
            module.register_forward_hook(adapter.adapt, prepend=True)
            adapters.append(adapter)
        learner.model.requires_grad_(False)
        chosen = {id(parameter) for adapter in adapters for parameter in adapter.parameters()}
        return learner.unfreeze(name for name, p in learner.model.named_parameters() if id(p) in chosen)


class BottleneckAdapter(nn.Module):
    """The residual network at one place; the identity until `up` is trained."""

    def __init__(self, hidden: int, width: int, *, layer_norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden) if layer_norm else None
        # No linear layers: whoever looks for those of the base model must not find the adapter's.
        self.down = nn.Parameter(torch.zeros(width, hidden))
        self.down_bias = nn.Parameter(torch.zeros(width))
        self.up = nn.Parameter(torch.zeros(hidden, width))
        self.up_bias = nn.Parameter(torch.zeros(hidden))

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        """Map `[batch, seq, hidden]` to the same shape and type."""
        read = hidden.to(self.down.dtype)
        read = self.norm(read) if self.norm is not None else read
        update = F.linear(F.linear(read, self.down, self.down_bias).relu(), self.up, self.up_bias)
        return hidden + update.to(hidden.dtype)

    def adapt(self, _: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """Replace a module's output, or the first part of it, by the adapted one."""
        return (self(output[0]), *output[1:]) if isinstance(output, tuple) else self(output)


def _places(block: nn.Module, places: Sequence[str]) -> list[nn.Module]:
    found = []
    for place in places:
        parts = (child for name, child in block.named_children() if name in PARTS_OF_BLOCK.get(place, ()))
        module = block if place == "block" else next(parts, None)
        if module is None:
            names = [name for name, _ in block.named_children()]
            raise UserError(
                f"places: the decoder blocks of this model have no part '{place}' among {names}; use block."
            )
        found.append(module)
    return found
