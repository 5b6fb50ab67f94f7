"""A method's state within a fit: it is on disk before the fit, so checkpoints inside hold only what has changed since.

Most of it (examples, importances, anchors, a teacher's values) stays as it is while a task is learned, and can be as
large as the model. A resumed fit begins with the same state, on which the changes are laid.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import Tensor

from cmt_cli.core.method import Method
from cmt_cli.core.objectives import State


class MethodState:
    """What a method's state was when a fit began, as digests."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self._before = {key: _digest(value) for key, value in method.state_dict().items()}

    def changes(self) -> tuple[State, list[str]]:
        """Return the values that differ from those before the fit, and the keys that are no longer there."""
        now = self._method.state_dict()
        changed = {key: value for key, value in now.items() if self._before.get(key) != _digest(value)}
        return changed, sorted(self._before.keys() - now.keys())

    def restore(self, changed: State, gone: list[str]) -> None:
        """Lay changes on the state before the fit, which the method has."""
        kept = {key: value for key, value in self._method.state_dict().items() if key not in gone}
        self._method.load_state_dict({**kept, **changed})


def _digest(value: Any) -> tuple[str, ...]:
    """Return what tells a value from others: of a tensor kind, shape and content; of plain values their JSON."""
    if not isinstance(value, Tensor):
        return (hashlib.blake2b(json.dumps(value, sort_keys=True).encode()).hexdigest(),)
    content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return str(value.dtype), str(tuple(value.shape)), hashlib.blake2b(content.data).hexdigest()
