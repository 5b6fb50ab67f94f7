"""Gradient checkpointing layer by layer: a fit switches it on, the forward passes of a learner enter it.

Chen et al. 2016 (arXiv 1604.06174). Of a decoder layer only the input is kept, and the backward pass runs the layer
again. transformers' own checkpointing acts on models in training mode alone, where it leaves keys and values out. Here
the layer is given the same once more: autocast and random numbers by torch, the parts that were switched on
(`switched_on`) and a copy of the keys and values, which the layer extends. Hooks of the layer itself stay outside and
run once. The weights are the model's at the time of the backward pass: a pass with other values in their place
(`torch.func.functional_call`) must not enter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache

from cmt_cli.core import key_values
from cmt_cli.core.exceptions import UserError, counted

# Every so many layers one keeps its activations: with frozen weights a second forward pass costs 0.4 of a step, and of
# the memory there is more to spare than of the time.
KEPT_EVERY = 7
_SWITCHED_ON: ContextVar[tuple[object, ...]] = ContextVar("switched_on", default=())


class LayerCheckpoints:
    """Whether decoder layers recompute their activations; a learner and its copies share one."""

    def __init__(self) -> None:
        self._is_used = False

    @contextmanager
    def using(self, is_used: bool) -> Iterator[None]:
        """Let the forward passes that enter keep only the layers' inputs, where `is_used`."""
        before, self._is_used = self._is_used, is_used
        try:
            yield
        finally:
            self._is_used = before

    @contextmanager
    def entered(self, model: Any) -> Iterator[None]:
        """Checkpoint decoder layers of `model` inside the block, see `KEPT_EVERY`; nothing where no gradient is taken.

        Keys and values that are given to the model are read and not extended. Raises UserError, see `decoder_blocks`.
        """
        if not (self._is_used and torch.is_grad_enabled()):
            yield
            return
        chosen = {place: layer for place, layer in enumerate(decoder_blocks(model)) if (place + 1) % KEPT_EVERY}
        before = [vars(layer).get("forward") for layer in chosen.values()]  # quantized layers may have their own
        for place, layer in chosen.items():
            vars(layer)["forward"] = _checkpointed(layer.forward, place)
        try:
            yield
        finally:
            for layer, own in zip(chosen.values(), before, strict=True):
                del vars(layer)["forward"]
                if own is not None:
                    vars(layer)["forward"] = own


def _checkpointed(forward: Callable[..., Any], place: int) -> Callable[..., Any]:
    """Return the forward pass of the layer at `place` that keeps its inputs alone."""

    def run(*args: Any, **kwargs: Any) -> Any:
        parts = _SWITCHED_ON.get()

        def run_again(*args: Any, **kwargs: Any) -> Any:
            with _only(parts):
                return forward(
                    *(_own(value, place) for value in args), **{name: _own(kwargs[name], place) for name in kwargs}
                )

        return checkpoint(run_again, *args, use_reentrant=False, **kwargs)

    return run


def _own(value: Any, place: int) -> Any:
    """Return an input of a layer, in place of keys and values a copy: the layer extends what it is given."""
    return key_values.with_own_layer(value, place) if isinstance(value, DynamicCache) else value


@contextmanager
def switched_on(part: object) -> Iterator[None]:
    """Switch on a part of the model that acts on request (see `is_switched_on`), here and in what is recomputed."""
    with _only((*_SWITCHED_ON.get(), part)):
        yield


def is_switched_on(part: object) -> bool:
    """Return whether `part` is switched on here, or was in the forward pass that is recomputed."""
    return any(other is part for other in _SWITCHED_ON.get())


@contextmanager
def _only(parts: tuple[object, ...]) -> Iterator[None]:
    token = _SWITCHED_ON.set(parts)
    try:
        yield
    finally:
        _SWITCHED_ON.reset(token)


def decoder_blocks(model: Any) -> nn.ModuleList:
    """Return the model's list of decoder blocks; raise UserError where there is none."""
    num_blocks = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == num_blocks:
            return module
    raise UserError(
        f"No list of {counted(num_blocks, 'decoder block')} was found in {type(model).__name__}: what works on single "
        "blocks has no place there. Set trainer.checkpoint_layers=false, do without trainer.distributed=fsdp2, "
        "bottleneck adapters and methods that grow the model, or take a decoder of transformers' own."
    )
