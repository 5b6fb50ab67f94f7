"""LoRA adapters inside the model, one or several, through peft (Hu et al. 2021, arXiv 2106.09685).

    y = W x + sum over active adapters of (alpha / rank) B A x,    A [rank, inputs], B [outputs, rank] = 0 at the start

A's entries are uniform within 1 / sqrt(inputs), peft's own choice, but from a generator seeded here. The adapters are
float32 parameters of the model, so that the learner saves them and a quantized base stays as it is. Deviation: no
dropout, because the learner runs without any, so that a result does not depend on how a batch is cut.
`layers/lora.py` is for updates that are switched on for a part of the computation.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.layers.architecture import linear_layers


@dataclass(frozen=True, slots=True)
class LowRankPair:
    """One adapter's matrices in one layer: `down` `[rank, inputs]` is A, `up` `[outputs, rank]` is B."""

    down: nn.Parameter
    up: nn.Parameter


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """A low-rank update of the target layers; `targets` is what `layers/architecture.py` takes."""

    rank: int
    alpha: float
    targets: str | Sequence[str]
    seed: int
    learning_rate: float | None = None  # peak, for budgets that leave theirs open

    def apply(self, learner: Learner) -> list[nn.Parameter]:
        """Add one adapter, which alone is trained, and return its parameters."""
        return parameters(self.grow(learner, 0))

    def grow(self, learner: Learner, index: int) -> list[LowRankPair]:
        """Add adapter number `index`, freeze all others and let every one act; the logits stay as they are."""
        _inject(learner.model, self, _name(index))
        for layer in _layers(learner.model):
            layer.set_adapter(list(layer.lora_A))
        learner.model.requires_grad_(False)
        pairs = adapter(learner, index)
        generator = torch.Generator().manual_seed(self.seed + index)
        with torch.no_grad():
            for pair in pairs:
                bound = pair.down.shape[1] ** -0.5
                pair.down.copy_((torch.rand(pair.down.shape, generator=generator) * 2 - 1) * bound)
                pair.up.zero_()
        chosen = {id(parameter) for parameter in parameters(pairs)}
        learner.unfreeze(name for name, parameter in learner.model.named_parameters() if id(parameter) in chosen)
        return pairs


def checked(trainable: Lora) -> Lora:
    """Return `trainable`; raise UserError unless it is a `Lora`, for methods that work on adapters."""
    if not isinstance(trainable, Lora):
        raise UserError(
            f"This method works on LoRA adapters, but what it trains is {type(trainable).__name__}. "
            "Use trainable@method.trainable=lora."
        )
    return trainable


def adapter(learner: Learner, index: int) -> list[LowRankPair]:
    """Return adapter number `index`, one pair for each target layer in the model's order."""
    name = _name(index)
    return [LowRankPair(layer.lora_A[name].weight, layer.lora_B[name].weight) for layer in _layers(learner.model)]


def remove(learner: Learner, index: int) -> None:
    """Take adapter number `index` out of the model."""
    for layer in _layers(learner.model):
        layer.delete_adapter(_name(index))
    del learner.model.peft_config[_name(index)]


def parameters(pairs: Sequence[LowRankPair]) -> list[nn.Parameter]:
    """Return the matrices of an adapter, down and up in turn."""
    return [parameter for pair in pairs for parameter in (pair.down, pair.up)]


def _name(index: int) -> str:
    return f"adapter_{index}"


def _inject(model: Any, lora: Lora, name: str) -> None:
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    adapted = [path for path, module in model.named_modules() if isinstance(module, LoraLayer)]
    targets = {} if adapted else linear_layers(model, lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=adapted or list(targets),
        fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in targets.values()),
    )
    with warnings.catch_warnings():
        # Several adapters are meant, and peft reads each layer's orientation itself when the second one is added.
        warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
        inject_adapter_in_model(config, model, adapter_name=name)


def _layers(model: Any) -> list[Any]:
    from peft.tuners.lora import LoraLayer

    return [module for module in model.modules() if isinstance(module, LoraLayer)]
