"""How much memory a run's weights will take, from configurations alone."""

from __future__ import annotations

import os
from typing import Any

from cmt_cli.job import Job

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
    available = _available_bytes()
    return text + (f"; {available / _GIB:.1f} GiB here" if available else "")


def _packed(model: dict[str, Any]) -> str:
    return f", {model['quantization']}" if model["quantization"] else ""


def _available_bytes() -> int:
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
