"""A check that a model's cache works: its logits must be those of the same tokens without a cache, alone and padded.

Not every architecture of transformers passes: state-space models may lose their state between two calls, and linear
attention may read padding. Answers would be wrong without a word.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor

from cmt_cli.core import key_values
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.prefix import model_inputs
from cmt_cli.core.tokens import left_padded

LENGTHS = (7, 4)  # tokens of the sequences; the last one of each is read behind the cache of the others
# Largest error of the logits, as a share of their spread. A lost state gives about 1; half precision up to some 0.05.
TOLERANCE = {torch.float32: 0.02}
HALF_TOLERANCE = 0.2
FAILURES = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, NotImplementedError, UserError)


@torch.no_grad()
def check_cache(model: Any) -> None:
    """Raise UserError for a model whose logits behind its cache are not those without; costs a few short passes."""
    device, num_tokens = model.get_input_embeddings().weight.device, model.get_input_embeddings().num_embeddings
    sequences = [[(11 + 7 * i + 5 * k) % num_tokens for i in range(length)] for k, length in enumerate(LENGTHS)]
    half = model.dtype if model.dtype in (torch.bfloat16, torch.float16) else None
    try:
        with torch.autocast(device.type, half, enabled=half is not None):
            expected = torch.cat([_without(model, ids, device) for ids in sequences])
            errors = {
                "one text at a time": _error(_behind_cache(model, sequences[:1], device), expected[:1]),
                "texts of different length in a batch": _error(_behind_cache(model, sequences, device), expected),
            }
    except torch.OutOfMemoryError:
        raise
    except FAILURES as error:
        raise _refusal(model, f"it stops with {type(error).__name__} ({error})") from error
    if not expected.isfinite().all():
        raise UserError("The model's logits are not finite: its weights are damaged. Get its files again.")
    for case, found in errors.items():
        if not found <= TOLERANCE.get(model.dtype, HALF_TOLERANCE):  # so that NaN is refused, too
            raise _refusal(
                model, f"its logits differ from those without a cache by {found:.2f} of their spread, {case}"
            )


def _without(model: Any, ids: list[int], device: torch.device) -> Tensor:
    tokens = torch.tensor([ids], device=device)
    inputs = model_inputs(model, tokens, torch.ones_like(tokens), None)
    return model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1].float()


def _behind_cache(model: Any, sequences: list[list[int]], device: torch.device) -> Tensor:
    padded, is_real = left_padded([ids[:-1] for ids in sequences], 0)
    mask = torch.tensor(is_real, device=device)
    inputs = model_inputs(model, torch.tensor(padded, device=device), mask, None)
    cache = key_values.returned(model(**inputs, use_cache=True, logits_to_keep=1))
    key_values.select(cache, torch.arange(len(sequences), device=device))
    out = model(
        input_ids=torch.tensor([ids[-1:] for ids in sequences], device=device),
        attention_mask=torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1),
        position_ids=inputs["position_ids"][:, -1:] + 1,
        use_cache=True,
        **key_values.given(model, cache),
    )
    return out.logits[:, -1].float()


def _error(found: Tensor, expected: Tensor) -> float:
    """Return the largest root mean square error of a row, as a share of the spread of its expected logits."""
    errors = (found - expected).square().mean(dim=1).sqrt() / expected.std(dim=1)
    return float(errors.max())


def _refusal(model: Any, reason: str) -> UserError:
    return UserError(
        f"Models of type '{model.config.model_type}' cannot be used with transformers {transformers.__version__}: run "
        f"with a cache, {reason}. Answers would be wrong. Set model.name_or_path to a decoder with attention (Llama, "
        "Qwen, Gemma, GPT-2 and others) or try another version of transformers."
    )
