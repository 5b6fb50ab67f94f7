"""A growing mixture of LoRA experts beside the frozen linear layers, with a router for each layer.

    y = W x + (alpha / rank) sum_e g_e(x) B_e A_e x,    B_e = 0 at the start
    g_e(x) = exp(r_e x) / (1 + sum over the experts i of e's group and of older groups of exp(r_i x)),    r_e = 0 there

A low-rank expert per token and layer, weighted by a softmax router on the layer's input, is that of LoRAMoE (Dou et al.
2023, arXiv 2312.09979). The 1 stands for the frozen layer itself, an expert whose router logit is 0: a router has
something to choose from with one expert already, and a gate can close where nothing is to be changed.

Experts come in groups, one for each growth. A softmax over *all* experts would take weight from the old ones when a row
is added, whatever the new expert computes, so that growing would change the model although B = 0. Here the softmax of
an expert runs over its own group and the older ones: a new expert competes with the old for weight, but no old gate
depends on a newer one. Old experts and router rows are frozen, so the old part of the sum stays as it was, exactly; the
gates of all groups may add up to more than 1. Every expert is computed for every token: no top-k, no load to balance.

Parameters are float32, the router computes in float32 (as Switch Transformers', arXiv 2101.03961). They are added by
forward hooks, which are bound methods: a deep copy of the model has hooks of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from cmt_cli.core.learner import Learner
from cmt_cli.layers.architecture import linear_layers, linear_sizes

NAME = "experts"  # of the submodule that is added to a target layer


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraExperts:
    """Groups of `num_experts` experts in the target layers; `targets` is what `layers/architecture.py` takes."""

    num_experts: int
    rank: int
    alpha: float
    targets: str | Sequence[str]
    seed: int
    learning_rate: float | None = None  # peak, for budgets that leave theirs open

    def apply(self, learner: Learner) -> list[nn.Parameter]:
        """Add one group, which alone is trained, and return its parameters: a mixture that does not grow."""
        return self.grow(learner)

    def grow(self, learner: Learner) -> list[nn.Parameter]:
        """Add a group and freeze all else; the logits stay as they are. Return the group's parameters."""
        if not mixtures(learner):
            for module in linear_layers(learner.model, self.targets).values():
                inputs, outputs = linear_sizes(module) or (0, 0)
                mixture = ExpertMixture(inputs, outputs, rank=self.rank, scale=self.alpha / self.rank)
                module.add_module(NAME, mixture)
                module.register_forward_hook(mixture.add_update)
        learner.model.requires_grad_(False)
        generator = torch.Generator().manual_seed(self.seed + num_groups(learner))
        added = [p for mixture in mixtures(learner) for p in mixture.grow(self.num_experts, generator, learner.device)]
        chosen = {id(parameter) for parameter in added}
        learner.unfreeze(name for name, p in learner.model.named_parameters() if id(p) in chosen)
        return added


class ExpertMixture(nn.Module):
    """The experts of one linear layer and their router, by group."""

    def __init__(self, inputs: int, outputs: int, *, rank: int, scale: float) -> None:
        super().__init__()
        self.inputs, self.outputs, self.rank, self.scale = inputs, outputs, rank, scale
        self.down = nn.ParameterList()  # [experts * rank, inputs], the experts' A one below the other
        self.up = nn.ParameterList()  # [outputs, experts * rank], the experts' B side by side
        self.router = nn.ParameterList()  # [experts, inputs]
        self.num_active = 0

    def grow(self, num_experts: int, generator: torch.Generator, device: torch.device) -> list[nn.Parameter]:
        """Add a group that changes nothing and return its parameters."""
        ranks = num_experts * self.rank
        down = (torch.rand(ranks, self.inputs, generator=generator) * 2 - 1) * self.inputs**-0.5
        self.down.append(nn.Parameter(down.to(device)))
        self.up.append(nn.Parameter(torch.zeros(self.outputs, ranks, device=device)))
        self.router.append(nn.Parameter(torch.zeros(num_experts, self.inputs, device=device)))
        self.num_active += 1
        return self.group(-1)

    def shrink(self) -> None:
        """Take the newest group away."""
        self.down, self.up, self.router = self.down[:-1], self.up[:-1], self.router[:-1]
        self.num_active -= 1

    def group(self, index: int) -> list[nn.Parameter]:
        """Return the parameters of one group."""
        return [self.down[index], self.up[index], self.router[index]]

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        """Return the experts' weighted sum, `[..., inputs]` to `[..., outputs]`."""
        active, read = range(self.num_active), hidden.float()
        with torch.autocast(hidden.device.type, enabled=False):
            weights = gates(read, [self.router[i] for i in active])
        updates = []
        for i, weight in zip(active, weights, strict=True):
            inner = F.linear(read, self.down[i]).unflatten(-1, (-1, self.rank)) * weight[..., None]
            updates.append(F.linear(inner.flatten(-2), self.up[i]))
        return self.scale * functools.reduce(torch.add, updates)  # in this order: a new group adds an exact 0

    def add_update(self, _: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        """Return a layer's output with the experts' added."""
        return output + self(inputs[0]).to(output.dtype) if self.num_active else None


def gates(hidden: Tensor, routers: Sequence[Tensor]) -> list[Tensor]:
    """Return each group's gates `[..., experts]` for `hidden` `[..., inputs]` and router rows `[experts, inputs]`.

    A group's softmax runs over its own experts, the older groups' and the frozen layer, whose logit is 0.
    """
    total = hidden.new_zeros(*hidden.shape[:-1], 1)  # log of the sum of exponentials so far
    found = []
    for rows in routers:
        logits = F.linear(hidden, rows)
        total = torch.cat([total, logits], dim=-1).logsumexp(dim=-1, keepdim=True)
        found.append((logits - total).exp())
    return found


def mixtures(learner: Learner) -> list[ExpertMixture]:
    """Return the mixtures of all layers in the model's order."""
    return [module for module in learner.model.modules() if isinstance(module, ExpertMixture)]


def num_groups(learner: Learner) -> int:
    """Return how often the experts have grown."""
    return len(next((mixture.router for mixture in mixtures(learner)), ()))


def group(learner: Learner, index: int) -> list[nn.Parameter]:
    """Return the parameters of one group in all layers."""
    return [parameter for mixture in mixtures(learner) for parameter in mixture.group(index)]


def shrink(learner: Learner) -> None:
    """Take the newest group out of the model."""
    for mixture in mixtures(learner):
        mixture.shrink()


@contextmanager
def without_newest(learner: Learner) -> Iterator[None]:
    """Run the block without gradients and as the model was before its newest group: the older ones are frozen."""
    found = mixtures(learner)
    for mixture in found:
        mixture.num_active -= 1
    try:
        with torch.no_grad():
            yield
    finally:
        for mixture in found:
            mixture.num_active += 1
