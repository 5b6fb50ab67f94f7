"""Small random models whose attention depends on places: sliding and local windows, ALiBi, recurrent layers."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from cmt_cli.core.learner import Learner
from tests.models.checkpoints import POSITIONS, VOCABULARY, byte_level_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": POSITIONS,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "initializer_range": 0.3,  # the default is so small that every position predicts alike
}
WINDOW = 6
SLIDING: dict[str, Any] = {**SIZES, "sliding_window": WINDOW}
MIXED: dict[str, Any] = {**SLIDING, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 1}

PLACES: dict[str, dict[str, Any]] = {
    "mistral": SLIDING,
    "gemma2": {**MIXED, "query_pre_attn_scalar": 8},
    "gemma3_text": {**MIXED, "query_pre_attn_scalar": 8},
    "gpt_neo": {
        **{name: SIZES[name] for name in ("vocab_size", "hidden_size", "bos_token_id", "eos_token_id")},
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": WINDOW,
        "max_position_embeddings": POSITIONS,
        "initializer_range": 0.3,
    },
    "gpt_oss": {**MIXED, **EXPERTS},
    "olmo3": MIXED,
    "mpt": {
        "vocab_size": VOCABULARY,
        "d_model": 32,
        "n_heads": 4,
        "n_layers": 2,
        "max_seq_len": POSITIONS,
        "initializer_range": 0.3,
    },
    "bloom": {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3},
}


def shaped_config(kind: str, **settings: Any) -> PretrainedConfig:
    """Return the configuration of a small model of a `model_type`, with some settings changed."""
    settings = {**SHAPES[kind], **settings}
    return AutoConfig.for_model(kind, **settings)


def random_learner(config: PretrainedConfig, **settings: Any) -> Learner:
    """Return a learner around a random model of this configuration."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, **settings)
    tokenizer = byte_level_tokenizer(adds_bos=False)
    return Learner(model, tokenizer, name=config.model_type, revision="local", max_tokens=POSITIONS)


LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1}
STATES: dict[str, Any] = {
    name: SIZES[name] for name in ("vocab_size", "hidden_size", "num_hidden_layers", "bos_token_id", "eos_token_id")
}
# Recurrent layers, alone or beside attention, which keep a state instead of keys and values.
RECURRENT: dict[str, dict[str, Any]] = {
    "mamba2": {**STATES, "state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1, "initializer_range": 0.3},
    "lfm2": {**SIZES, "layer_types": ["conv", "full_attention"]},
    "qwen3_5_text": {**SIZES, **LINEAR},
    "bamba": {**SIZES, **MAMBA, "attn_layer_indices": [1]},
    "falcon_h1": {**SIZES, **MAMBA, "mamba_d_ssm": 64},
}
# Wrong or without a cache in transformers itself.
NO_CACHE: dict[str, dict[str, Any]] = {
    "mamba": {**STATES, "state_size": 8, "initializer_range": 0.3},
    "rwkv": {**STATES, "attention_hidden_size": 32},
    "recurrent_gemma": {**SIZES, "num_hidden_layers": 3, "lru_width": 32, "attention_window_size": WINDOW},
    "minimax": {
        **SIZES,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "openai-gpt": {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS},
}
SHAPES = {**PLACES, **RECURRENT, **NO_CACHE}
