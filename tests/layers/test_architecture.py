"""The linear layers of attention are found in every architecture, whatever their names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Prompt
from cmt_cli.layers.architecture import KeyValueShape, key_value_shape, linear_layers
from cmt_cli.layers.prefixes import PrefixKeyValues
from tests.models.shapes import MIXED, SIZES, random_learner, shaped_config

GPT = {"vocab_size": 384, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
UNSPLIT = {name: value for name, value in SIZES.items() if name not in ("head_dim", "num_key_value_heads")}
SHAPES: dict[str, tuple[dict[str, Any], set[str], set[str]]] = {  # settings, attention, query_value
    "llama": (SIZES, {"q_proj", "k_proj", "v_proj", "o_proj"}, {"q_proj", "v_proj"}),
    "opt": (
        {"vocab_size": 384, "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        | {"word_embed_proj_dim": 32},
        {"q_proj", "k_proj", "v_proj", "out_proj"},
        {"q_proj", "v_proj"},
    ),
    "phi": (SIZES, {"q_proj", "k_proj", "v_proj", "dense"}, {"q_proj", "v_proj"}),
    "phi3": (SIZES, {"qkv_proj", "o_proj"}, {"qkv_proj"}),
    "gptj": (GPT | {"rotary_dim": 4}, {"q_proj", "k_proj", "v_proj", "out_proj"}, {"q_proj", "v_proj"}),
    "gpt2": (GPT, {"c_attn", "c_proj"}, {"c_attn"}),
    "gpt_neox": (SIZES, {"query_key_value", "dense"}, {"query_key_value"}),
    "falcon": (UNSPLIT, {"query_key_value", "dense"}, {"query_key_value"}),
    "bloom": (
        {"vocab_size": 384, "hidden_size": 32, "n_layer": 2, "n_head": 4},
        {"query_key_value", "dense"},
        {"query_key_value"},
    ),
}


def model_of(kind: str, settings: dict[str, Any]) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))


def last_names(layers: dict[str, Any]) -> set[str]:
    return {name.rsplit(".", 1)[-1] for name in layers}


@pytest.mark.parametrize("kind", SHAPES)
def test_attention_targets_include_the_output_projection(kind: str) -> None:
    settings, attention, query_value = SHAPES[kind]
    model = model_of(kind, settings)
    found = linear_layers(model, "attention")
    assert last_names(found) == attention
    assert len(found) == len(attention) * model.config.num_hidden_layers  # none of the MLP, which shares names
    assert last_names(linear_layers(model, "query_value")) == query_value


def test_half_of_a_group_is_refused() -> None:
    model = model_of("ctrl", {**GPT, "dff": 64})
    for targets in ("query_value", "key_value", "attention", ["q_proj"]):
        with pytest.raises(UserError, match=r"This model has .*'Wq'"):
            linear_layers(model, targets)


@pytest.mark.parametrize(
    ("kind", "settings", "heads"),
    [("llama", SIZES, 2), ("gpt2", GPT, 4), ("falcon", UNSPLIT, 1), ("bloom", SHAPES["bloom"][0], 4)],
)
def test_key_value_shapes_are_those_of_the_cache(kind: str, settings: dict[str, Any], heads: int) -> None:
    learner = random_learner(AutoConfig.for_model(kind, **settings))
    assert key_value_shape(learner.model) == KeyValueShape(2, heads, 8)
    PrefixKeyValues(num_virtual=3, reparametrization=8, num_common=100, seed=0).apply(learner)
    assert len(learner.loglikelihood([Prompt("p", "Where?")], [" Turin"])) == 1


@pytest.mark.parametrize("reparametrization", [None, 8])
@pytest.mark.parametrize("kind", ["lfm2", "falcon_h1", "gemma4_text", "deepseek_v3"])
def test_prefixes_of_unlike_layers_are_refused(kind: str, reparametrization: int | None) -> None:
    settings = {
        "gemma4_text": {**MIXED, "global_head_dim": 16, "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0},
        "deepseek_v3": {**UNSPLIT, "num_key_value_heads": 4, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4}
        | {"qk_nope_head_dim": 8, "v_head_dim": 8, "first_k_dense_replace": 2},
    }
    config = AutoConfig.for_model(kind, **settings[kind]) if kind in settings else shaped_config(kind)
    learner = random_learner(config)
    prefix = PrefixKeyValues(num_virtual=3, reparametrization=reparametrization, num_common=100, seed=0)
    with pytest.raises(UserError, match=rf"'{kind}' .*trainable=prompt"):
        prefix.apply(learner)
