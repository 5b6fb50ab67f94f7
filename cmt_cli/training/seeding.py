"""The global random generators as saved state: seeded at the start of a fit, restored when it is resumed."""

from __future__ import annotations

import random

import torch

from cmt_cli.core.objectives import State


def seed_generators(seed: int) -> None:
    """Seed Python's and torch's global generators, on every device."""
    random.seed(seed)
    torch.manual_seed(seed)


def generator_state() -> State:
    """Return the states of the global generators: byte tensors, and JSON values for Python's."""
    version, internal, gauss_next = random.getstate()
    state: State = {"python": [version, list(internal), gauss_next], "torch": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_generators(state: State) -> None:
    """Restore what `generator_state` returned; a state saved without CUDA leaves CUDA's generator alone."""
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
