"""What was learned as an adapter of peft beside an unchanged base model: low-rank updates, or virtual tokens.

Several low-rank updates of one layer are one of the sum of their ranks, exactly:
    sum_i s_i B_i A_i x = s [B_1 s_1/s, B_2 s_2/s, ...] [A_1; A_2; ...] x
Several prompts are one longer prompt. Keys and values that a network makes are written as what it makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PrefixTuningConfig, PromptTuningConfig
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import PREFIX_SOURCE, Learner
from cmt_cli.core.prefix import Prefix
from cmt_cli.layers.architecture import linear_sizes
from cmt_cli.models.adapters import WEIGHTS
from cmt_cli.models.base_models import BaseModel

_TASK = "CAUSAL_LM"
_LORA_PARTS = (".lora_A.", ".lora_B.")


def is_adapter(learner: Learner) -> bool:
    """Return whether all that was learned are low-rank updates or virtual tokens, and there is some."""
    names = learner.state_dict().keys()
    return bool(names) and all(name.startswith(f"{PREFIX_SOURCE}.") or _is_lora(name) for name in names)


def write_adapter(learner: Learner, base: BaseModel, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors; raise UserError where peft has no such adapter."""
    if not is_adapter(learner):
        raise UserError(
            "There is no adapter to write: the run trained the model's own weights, or none at all. Use --format "
            "merged."
        )
    config, weights = _low_rank(learner) if learner.prefix_source is None else _virtual_tokens(learner)
    config.base_model_name_or_path, config.revision = base.name, base.revision
    config.inference_mode = True
    config.save_pretrained(str(folder))
    plain = {name: value.detach().float().cpu().contiguous() for name, value in weights.items()}
    save_file(plain, folder / WEIGHTS, metadata={"format": "pt"})


def _is_lora(name: str) -> bool:
    return any(part in name for part in _LORA_PARTS)


def _low_rank(learner: Learner) -> tuple[PeftConfig, dict[str, Tensor]]:
    layers: dict[str, Any] = {n: m for n, m in learner.model.named_modules() if isinstance(m, LoraLayer)}
    first = next(iter(layers.values()))
    names = list(first.lora_A)
    scale = float(first.scaling[names[0]])
    weights, rank = {}, 0
    for path, layer in layers.items():
        down = torch.cat([layer.lora_A[name].weight for name in names])
        up = torch.cat([layer.lora_B[name].weight * (layer.scaling[name] / scale) for name in names], dim=1)
        weights[f"base_model.model.{path}.lora_A.weight"] = down
        weights[f"base_model.model.{path}.lora_B.weight"] = up
        rank = len(down)
    alpha = scale * rank
    config = LoraConfig(
        task_type=_TASK,
        r=rank,
        lora_alpha=int(alpha) if alpha == int(alpha) else alpha,
        target_modules=_short_names(learner.model, layers),
        fan_in_fan_out=type(first.get_base_layer()).__name__ == "Conv1D",
    )
    return config, weights


def _short_names(model: Any, layers: Mapping[str, Any]) -> list[str]:
    """Return the last parts of the layers' names where these name no other layer, else the whole names."""
    last = {path.rpartition(".")[2] for path in layers}
    linear = {name for name, module in model.named_modules() if linear_sizes(module) is not None}
    others = {name for name in linear if not name.startswith(tuple(f"{path}." for path in layers))} - layers.keys()
    return sorted(last if not last & {name.rpartition(".")[2] for name in others} else layers)


def _virtual_tokens(learner: Learner) -> tuple[PeftConfig, dict[str, Tensor]]:
    source = learner.prefix_source
    assert source is not None, "asked for by the caller"
    ids = torch.tensor([[learner.eos_id]], device=learner.device)
    with torch.no_grad():
        prefix = source.prefix(ids, torch.ones_like(ids).bool())
    assert prefix is not None, "its values were trained"
    config = learner.model.config.get_text_config()
    shape = {"task_type": _TASK, "num_virtual_tokens": prefix.num_virtual, "num_layers": config.num_hidden_layers}
    if prefix.embeddings is not None:
        made: PeftConfig = PromptTuningConfig(
            **shape,
            token_dim=learner.hidden_size,
            num_attention_heads=config.num_attention_heads,
            num_transformer_submodules=1,
        )
        return made, {"prompt_embeddings": prefix.embeddings[0]}
    flat, num_heads, head_dim = _flat(prefix)
    made = PrefixTuningConfig(**shape, token_dim=num_heads * head_dim, num_attention_heads=num_heads)
    return made, {"prompt_embeddings": flat}


def _flat(prefix: Prefix) -> tuple[Tensor, int, int]:
    """Return keys and values as peft keeps them, `[virtual, layers * 2 * kv_heads * head_dim]`, with the last two."""
    both = torch.stack([torch.stack([key[0], value[0]]) for key, value in prefix.layers])
    _, _, num_heads, num_virtual, head_dim = both.shape  # [layers, 2, kv_heads, virtual, head_dim]
    return both.permute(3, 0, 1, 2, 4).reshape(num_virtual, -1), num_heads, head_dim
