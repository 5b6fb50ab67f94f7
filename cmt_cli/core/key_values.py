"""The name under which a model takes and returns its keys and values, which differs between versions of transformers.

A forward pass calls them `past_key_values` in transformers 5.0 and `cache` in later versions, where the old name only
warns for a while and is then swallowed by `**kwargs`: a prefix would be lost without a word. Only this module knows
the two names.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from cmt_cli.core.exceptions import UserError

_NAMES = ("cache", "past_key_values")  # the newer first


def given(model: Any, cache: Any) -> dict[str, Any]:
    """Return the keyword argument by which `model` takes keys and values.

    Raises UserError for a model whose forward pass takes none: it would answer as if nothing had been read.
    """
    # The class's: what wraps the forward of one object (accelerate, for one) hides its signature.
    return {_argument(type(model).forward): cache}


def returned(outputs: Any) -> Any:
    """Return the keys and values of a forward pass with `use_cache=True`; raise UserError where there are none."""
    for name in _NAMES:
        if name in outputs:
            return outputs[name]
    raise UserError(f"{type(outputs).__name__} has no keys and values, so that this model cannot continue a text.")


def select(cache: Any, rows: Tensor) -> None:
    """Keep the rows `[chosen]` of a cache, in place; rows may repeat, as beams do.

    Recurrent layers have no other way to choose rows than the one for beams.
    """
    cache.reorder_cache(rows)


def selected(cache: Any, rows: Tensor) -> Any:
    """Return a cache with the rows `[chosen]` of the one given, which stays as it is."""
    chosen = copy.copy(cache)
    chosen.layers = [_own_fields(layer) for layer in cache.layers]  # selection binds new tensors and changes none
    chosen.reorder_cache(rows)
    return chosen


def with_own_layer(cache: Any, place: int) -> Any:
    """Return a cache whose layer number `place` may be extended while that of the cache given stays as it is."""
    own = copy.copy(cache)
    own.layers = list(cache.layers)
    own.layers[place : place + 1] = [_own_fields(layer) for layer in cache.layers[place : place + 1]]
    return own


def _own_fields(layer: Any) -> Any:
    own = copy.copy(layer)  # recurrent layers keep their states in dictionaries
    own.__dict__.update({name: dict(value) for name, value in vars(layer).items() if isinstance(value, dict)})
    return own


@functools.cache
def _argument(forward: Callable[..., Any]) -> str:
    parameters = inspect.signature(forward).parameters
    for name in _NAMES:
        if name in parameters:
            return name
    raise UserError(
        f"{forward.__qualname__} takes no keys and values ({' or '.join(_NAMES)}), which prefixes and decoding need. "
        "Use a decoder of transformers' own, or injection=soft."
    )
