"""The number format of a forward pass: float32, or bfloat16 autocast with float32 trained weights.

float16 is not offered: it needs loss scaling, and MAC's encoders overflow in it.
"""

from __future__ import annotations

import torch

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.mixed_precision import automatic_dtype
from cmt_cli.core.setting_checks import one_of

PRECISIONS = ("auto", "fp32", "bf16")


def check_precision(precision: str) -> str:
    """Return `precision`, or raise UserError."""
    if precision == "fp16":
        raise UserError("trainer.precision=fp16 is not offered because it needs loss scaling; use bf16.")
    return one_of(precision, PRECISIONS, "trainer.precision")


def forward_dtype(precision: str, device: torch.device, num_parameters: int) -> torch.dtype | None:
    """Return what forward passes over float32 weights compute in, None for float32; see `automatic_dtype`."""
    if precision == "fp32":
        return None
    dtype = torch.bfloat16 if precision == "bf16" else automatic_dtype(device, num_parameters)
    return None if dtype == torch.float32 else dtype


def refuse_float16_weights(dtype: torch.dtype) -> None:
    """Raise UserError where a fit would compute the gradients of a float16 model, which underflow unscaled."""
    if dtype == torch.float16:
        raise UserError(
            "model.dtype=fp16 can answer but not be trained: small gradients vanish in fp16, and loss scaling is not "
            "offered. Set model.dtype=bf16, or model.dtype=fp32, which trainer.precision=bf16 computes in bf16."
        )
