"""Which runs repeat one experiment: their configs agree in everything but seeds and the order of the tasks.

An order is what `data.order`, `data.order_seed` or `data.stream` say, the keys by which streams of labelled tasks put
the same tasks into another order. Runs over other tasks than these are told apart by their tests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cmt_cli.running.identity import NOT_SETTINGS, asks_nothing, config_hash

ORDER_KEYS = ("order", "order_seed", "stream")  # of `data`
_ORDER_COPIES = "tasks"  # of `data.generated`, made from them by interpolation
_BUDGET = "cmt_cli.core.objectives.Budget"
_AMOUNTS = ("num_epochs", "num_steps", "max_steps", "batch_size")


def experiment_of(config: Mapping[str, Any]) -> str:
    """Return the hash that repetitions of one experiment share."""
    data = dict(config.get("data") or {})
    for key in ORDER_KEYS:
        data.pop(key, None)
    if isinstance(data.get("generated"), Mapping):
        data["generated"] = {k: v for k, v in data["generated"].items() if k != _ORDER_COPIES}
    return config_hash({**config, "data": data}, ignore_seed=True)


def order_of(config: Mapping[str, Any]) -> str | None:
    """Return the order of the tasks as text, None where the stream has one order only."""
    data = config.get("data") or {}
    found = [data[key] for key in ORDER_KEYS if data.get(key) is not None]
    return json.dumps(found, ensure_ascii=False) if found else None


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a config's settings by dotted key; what is no setting of the run (paths, logger, hydra) is left out."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if not prefix and (key in NOT_SETTINGS or asks_nothing(key, value)):
            continue
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def is_repetition_key(key: str) -> bool:
    """Return whether repetitions may differ in this dotted key: a seed, or the order of the tasks."""
    parts = key.split(".")
    if parts[-1] == "seed":
        return True
    return key in {f"data.{name}" for name in ORDER_KEYS} or key == f"data.generated.{_ORDER_COPIES}"


def amount_keys(config: Mapping[str, Any]) -> set[str]:
    """Return the dotted keys of a flat config that say how much is trained on, or of how much data and tests.

    That is epochs, steps and batch sizes of the trainer and of every budget, and the limits and sizes of `data` and
    `evaluator`.
    """
    budgets = ("trainer.", *(key.removesuffix("_target_") for key, value in config.items() if value == _BUDGET))
    trained = {key for key in config if key.startswith(budgets) and key.split(".")[-1] in _AMOUNTS}
    limits = ("max_", "num_")
    limited = {k for k in config if k.startswith(("data.", "evaluator.max_")) and k.split(".")[-1].startswith(limits)}
    return {key for key in trained | limited if not is_repetition_key(key)}


def differing(configs: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, list[Any]]:
    """Return the values of those keys in which flat configs differ; a key that a config lacks counts as None."""
    found: dict[str, list[Any]] = {}
    for key in keys:
        values = {repr(config.get(key)): config.get(key) for config in configs}
        if len(values) > 1:
            found[key] = list(values.values())
    return found
