"""Where the parts lie in each model architecture: decoder blocks, linear layers by name, key/value shape.

What differs between architectures is told here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from cmt_cli.core.exceptions import UserError

# Names of the projections that hold keys and values: Llama, Qwen, Mistral and others; GPT-2; GPT-NeoX.
KEY_VALUE_NAMES = ("k_proj", "v_proj", "c_attn", "query_key_value")
ATTENTION_NAMES = (*KEY_VALUE_NAMES, "q_proj", "o_proj")
QUERY_VALUE_NAMES = ("q_proj", "v_proj", "c_attn", "query_key_value")  # one layer makes all three in the latter two
# What a block's attention and its MLP write with: Llama, Qwen, Mistral and others; GPT-2; GPT-NeoX.
OUTPUT_NAMES = (("o_proj", "down_proj"), ("c_proj", "c_proj"), ("dense", "dense_4h_to_h"))
PARTS_OF_BLOCK = {"mlp": ("mlp",), "attention": ("self_attn", "attn", "attention")}  # names of a block's children
GROUPS = {"attention": ATTENTION_NAMES, "key_value": KEY_VALUE_NAMES, "query_value": QUERY_VALUE_NAMES}


@dataclass(frozen=True, slots=True)
class KeyValueShape:
    """The shape of one position's keys (and of its values) in every layer."""

    num_layers: int
    num_heads: int  # key/value heads, fewer than query heads with grouped-query attention
    head_dim: int


def key_value_shape(model: Any) -> KeyValueShape:
    """Read the key/value shape from a model's configuration."""
    config = model.config.get_text_config()
    num_heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // num_heads
    return KeyValueShape(config.num_hidden_layers, getattr(config, "num_key_value_heads", None) or num_heads, head_dim)


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
    names = GROUPS[targets] if isinstance(targets, str) and targets in GROUPS else targets
    chosen = {name: module for name, module in found.items() if name.rsplit(".", 1)[-1] in names}
    if not chosen:
        allowed = sorted({name.rsplit(".", 1)[-1] for name in found})
        raise UserError(f"No linear layer is named {targets!r}. This model has {allowed}; 'all' takes every one.")
    return chosen


def decoder_blocks(model: Any) -> nn.ModuleList:
    """Return the model's list of decoder blocks."""
    num_blocks = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == num_blocks:
            return module
    raise UserError(f"No list of {num_blocks} decoder blocks was found in {type(model).__name__}: it cannot be grown.")
