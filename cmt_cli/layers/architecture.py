"""Where the parts lie in each model architecture: linear layers by name, key/value shape.

What differs between architectures is told here, and for decoder blocks in `core/layer_checkpoints.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from cmt_cli.core import key_values
from cmt_cli.core.exceptions import UserError

# Names of the projections by what they make: most models; those that make all three in one layer (GPT-2, GPT-NeoX,
# Falcon, BLOOM, Phi-3, CodeGen, MPT); DeepSeek's, which make keys and values of one compressed vector.
FUSED_NAMES = ("c_attn", "query_key_value", "qkv_proj", "Wqkv")
QUERY_NAMES = ("q_proj", "q_b_proj")
KEY_NAMES = ("k_proj", "kv_b_proj")
VALUE_NAMES = ("v_proj", "kv_b_proj")
ATTENTION_PARTS = ("self_attn", "attn", "attention", "self_attention")  # names of a block's attention
# What a block's attention and its MLP write with: Llama, Qwen, Mistral and others; GPT-2; GPT-NeoX.
OUTPUT_NAMES = (("o_proj", "down_proj"), ("c_proj", "c_proj"), ("dense", "dense_4h_to_h"))
PARTS_OF_BLOCK = {"mlp": ("mlp",), "attention": ("self_attn", "attn", "attention")}  # names of a block's children
GROUPS = {"key_value": (KEY_NAMES, VALUE_NAMES), "query_value": (QUERY_NAMES, VALUE_NAMES)}


@dataclass(frozen=True, slots=True)
class KeyValueShape:
    """The shape of one position's keys (and of its values) in every layer."""

    num_layers: int
    num_heads: int  # key/value heads, fewer than query heads with grouped-query attention
    head_dim: int


@torch.no_grad()
def key_value_shape(model: Any) -> KeyValueShape:
    """Return the key/value shape, as a pass over one token leaves it in the cache.

    Raises UserError where a layer keeps none (recurrent, shared with another layer) or shapes differ between layers
    (Gemma 4) or between keys and values (DeepSeek).
    """
    planned = DynamicCache(config=model.config).layers
    if not all(isinstance(layer, DynamicLayer) and not hasattr(layer, "conv_states") for layer in planned):
        raise _no_common_shape(model, "not every layer keeps keys and values")
    device, cache = model.get_input_embeddings().weight.device, DynamicCache()
    half = model.dtype in (torch.bfloat16, torch.float16)
    with torch.autocast(device.type, model.dtype if half else None, enabled=half):
        token = torch.zeros(1, 1, dtype=torch.long, device=device)
        model(input_ids=token, use_cache=True, logits_to_keep=1, **key_values.given(model, cache))
    shapes = {(states.shape[1], states.shape[3]) for layer in cache.layers for states in (layer.keys, layer.values)}
    if len(shapes) != 1:
        raise _no_common_shape(model, f"its keys and values have heads and widths {sorted(shapes)}")
    return KeyValueShape(len(cache.layers), *shapes.pop())


def _no_common_shape(model: Any, reason: str) -> UserError:
    return UserError(
        f"A prefix of keys and values needs the same shape in every layer, but in models of type "
        f"'{model.config.model_type}' {reason}. Use virtual tokens at the input: trainable@method.trainable=prompt "
        "(methods with a trained prefix) or injection=soft (methods with a memory)."
    )


def block_index(name: str, *, outside: int) -> int:
    """Return the decoder block that a module's or parameter's name points into; `outside` where it is in none."""
    return next((int(part) for part in name.split(".") if part.isdigit()), outside)


def linear_sizes(module: nn.Module) -> tuple[int, int] | None:
    """Return (inputs, outputs) of a linear layer, GPT-2's transposed `Conv1D` included; None for other modules."""
    if isinstance(module, nn.Linear):  # bitsandbytes' quantized layers are subclasses
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D":
        weight = module.get_parameter("weight")
        return weight.shape[0], weight.shape[1]
    return None


def linear_layers(model: Any, targets: str | Sequence[str]) -> dict[str, nn.Module]:
    """Return the linear layers of the decoder blocks by name.

    `targets` is "all", "attention", "key_value", "query_value", or the last parts of module names such as `q_proj`.
    """
    output = model.get_output_embeddings()
    found = {
        name: module
        for name, module in model.named_modules()
        if linear_sizes(module) is not None and module is not output
    }
    if targets == "all":
        return found
    if targets == "attention":
        chosen = {name: module for name, module in found.items() if set(name.split(".")[:-1]) & set(ATTENTION_PARTS)}
        is_whole = bool(chosen)
    else:
        is_group = isinstance(targets, str) and targets in GROUPS
        parts = GROUPS[str(targets)] if is_group else ((targets,) if isinstance(targets, str) else tuple(targets),)
        fused = FUSED_NAMES if is_group else ()
        names = {*fused, *(name for part in parts for name in part)}
        chosen = {name: module for name, module in found.items() if name.rsplit(".", 1)[-1] in names}
        present = {name.rsplit(".", 1)[-1] for name in chosen}
        is_whole = bool(present & set(fused)) or all(present & set(part) for part in parts)
    if not is_whole:
        allowed = sorted({name.rsplit(".", 1)[-1] for name in found})
        raise UserError(f"No linear layer is named {targets!r}. This model has {allowed}; 'all' takes every one.")
    return chosen
