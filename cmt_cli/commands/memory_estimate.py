"""How much memory a run's weights will take, from configurations alone."""

from __future__ import annotations

from typing import Any

from cmt_cli.commands.doctor import available_bytes
from cmt_cli.running.job import Job

_GIB = 1024**3


def memory_estimate(current: Job) -> str:
    """Return a line about the weights' bytes and the memory here; the activations come on top."""
    model = current.config["model"]
    name = model.get("name_or_path")
    if name is None:
        return f"model {current.names['model']} is embedded and takes a few megabytes"
    from cmt_cli.models.huggingface import estimate_bytes

    weights = estimate_bytes(name, model["dtype"], model["quantization"], revision=model["revision"])
    if weights is None:
        return f"{name} is neither a local folder nor in the cache, so its size is not known before it is downloaded"
    text = f"weights {weights / _GIB:.2f} GiB ({model['dtype']}{_packed(model)})"
    text += "; activations and optimizer come on top"
    return f"{text}; {available_bytes() / _GIB:.1f} GiB are free here"


def _packed(model: dict[str, Any]) -> str:
    return f", {model['quantization']}" if model["quantization"] else ""
