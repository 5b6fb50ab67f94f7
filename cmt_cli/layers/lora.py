"""Low-rank updates that can be switched on for a part of the computation (Hu et al. 2021, arXiv 2106.09685).

y = W x + (alpha / rank) B A x. The update is added by forward hooks, so that the base modules keep their names and
types (quantized ones too) and the frozen model stays exactly itself outside `active()`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cmt_cli.core.layer_checkpoints import is_switched_on, switched_on
from cmt_cli.layers.architecture import block_index, linear_layers, linear_sizes


class LoraLayers(nn.Module):
    """A down `[rank, inputs]` and an up `[outputs, rank]` matrix for each target layer; up starts at zero."""

    def __init__(
        self,
        model: Any,
        *,
        rank: int,
        alpha: float,
        targets: str | Sequence[str],
        seed: int,
        last_layers: int | None = None,
    ) -> None:
        """Hook the target layers of `model`; `last_layers` keeps only those of the last decoder blocks."""
        super().__init__()
        self.scale = alpha / rank
        generator = torch.Generator().manual_seed(seed)
        self.down, self.up = nn.ParameterList(), nn.ParameterList()
        device = model.get_input_embeddings().weight.device
        for index, (_, module) in enumerate(_of_last_layers(model, targets, last_layers)):
            inputs, outputs = linear_sizes(module) or (0, 0)
            bound = inputs**-0.5
            down = (torch.rand(rank, inputs, generator=generator) * 2 - 1) * bound
            self.down.append(nn.Parameter(down.to(device)))
            self.up.append(nn.Parameter(torch.zeros(outputs, rank, device=device)))
            module.register_forward_hook(self._hook(index))

    def _hook(self, index: int) -> Any:
        def add_update(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not is_switched_on(self):
                return None
            down, up = self.down[index], self.up[index]
            # Autocast would round a float32 copy back at once.
            hidden = inputs[0] if torch.is_autocast_enabled(output.device.type) else inputs[0].to(down.dtype)
            update = (hidden @ down.T) @ up.T
            return output + (self.scale * update).to(output.dtype)

        return add_update

    @contextmanager
    def active(self) -> Iterator[None]:
        """Add the updates to every forward pass inside the block."""
        with switched_on(self):
            yield


def _of_last_layers(model: Any, targets: str | Sequence[str], last_layers: int | None) -> list[tuple[str, nn.Module]]:
    chosen = linear_layers(model, targets)
    if last_layers is None:
        return list(chosen.items())
    first = model.config.get_text_config().num_hidden_layers - last_layers
    return [(name, module) for name, module in chosen.items() if block_index(name, outside=-1) >= first]
