"""The number format of a forward pass: float32, or bfloat16 autocast with float32 trained weights.

float16 is not offered: it needs loss scaling, and MAC's encoders overflow in it.
"""

from __future__ import annotations

import contextlib

import torch

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.setting_checks import one_of

PRECISIONS = ("auto", "fp32", "bf16")


def check_precision(precision: str) -> str:
    """Return `precision`, or raise UserError."""
    if precision == "fp16":
        raise UserError("trainer.precision=fp16 is not offered because it needs loss scaling; use bf16.")
    return one_of(precision, PRECISIONS, "trainer.precision")


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Return the context of a forward and backward pass; "auto" is bf16 on CUDA and fp32 elsewhere."""
    if precision == "fp32" or (precision == "auto" and device.type != "cuda"):
        return contextlib.nullcontext()
    # One context spans several micro-batches: a cached cast would tie the second one to the first one's freed graph.
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)
