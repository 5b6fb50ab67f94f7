"""A LoRA adapter in a folder is added to a model's weights; what it would not be exactly is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.models.adapters import EXPORT, WEIGHTS, adapter_files, merge_adapter, refuse_other_base

IDS = torch.arange(3, 15)[None]
BOTH = ["q_proj", "down_proj", "c_attn", "c_proj"]  # names of Llama's layers and of GPT-2's


def saved_by_peft(base: Path, folder: Path, **settings: Any) -> PeftModel:
    """Write an adapter with random values as peft does; return the model beside it."""
    torch.manual_seed(1)
    plain = {"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    config = LoraConfig(**plain | settings)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"init_lora_weights": False},
        {"rank_pattern": {"q_proj": 2, "c_proj": 2}, "target_modules": BOTH},
        {"layers_to_transform": [1], "target_modules": BOTH},
    ],
)
def test_the_sum_is_what_peft_computes(
    checkpoints: dict[str, Path], tmp_path: Path, family: str, settings: dict[str, Any]
) -> None:
    adapted = saved_by_peft(checkpoints[family], tmp_path, **settings)
    model = AutoModelForCausalLM.from_pretrained(checkpoints[family]).eval()
    with torch.no_grad():
        before = model(input_ids=IDS).logits
        merge_adapter(model, str(tmp_path))
        torch.testing.assert_close(model(input_ids=IDS).logits, adapted(input_ids=IDS).logits, rtol=1e-4, atol=1e-3)
        assert not torch.allclose(before, adapted(input_ids=IDS).logits, atol=0.1)


def test_half_precision_weights_take_the_whole_update(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    saved_by_peft(checkpoints["llama"], tmp_path, target_modules=["q_proj"])
    model = AutoModelForCausalLM.from_pretrained(checkpoints["llama"], dtype=torch.bfloat16)
    layer = model.model.layers[0].self_attn.q_proj
    before = layer.weight.detach().float()
    merge_adapter(model, str(tmp_path))
    tensors = load_file(tmp_path / WEIGHTS)
    down, up = (tensors[f"base_model.model.model.layers.0.self_attn.q_proj.lora_{part}.weight"] for part in "AB")
    torch.testing.assert_close(layer.weight.detach(), before + 2 * up @ down)
    assert model.model.layers[0].self_attn.k_proj.weight.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"use_dora": True}, "use_dora=True"),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern"),
        ({"bias": "all"}, "bias='all'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication"),
    ],
)
def test_more_than_a_plain_sum_is_refused(
    checkpoints: dict[str, Path], tmp_path: Path, settings: dict[str, Any], named: str
) -> None:
    saved_by_peft(checkpoints["llama"], tmp_path)
    edit(tmp_path, **settings)
    with pytest.raises(UserError, match=f"no plain LoRA adapter: .*{named}"):
        merge_adapter(AutoModelForCausalLM.from_pretrained(checkpoints["llama"]), str(tmp_path))


def test_virtual_tokens_are_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(checkpoints["llama"])
    get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="of type PROMPT_TUNING, and only those of type LORA"):
        merge_adapter(model, str(tmp_path))


def test_another_models_adapter_is_refused(checkpoints: dict[str, Path], tmp_path: Path, tiny_llama: Learner) -> None:
    saved_by_peft(checkpoints["gpt2"], tmp_path / "names")
    saved_by_peft(checkpoints["qwen3"], tmp_path / "sizes", target_modules=["q_proj"])
    for folder, layer in (("names", r"transformer\.h\.0\.attn\.c_attn"), ("sizes", r"model\.layers\.0\.self_attn")):
        before = {name: value.clone() for name, value in tiny_llama.model.state_dict().items()}
        with pytest.raises(UserError, match=rf"another base model \(.*\): .* no layer of the same size for {layer}"):
            merge_adapter(tiny_llama.model, str(tmp_path / folder))
        assert all(torch.equal(before[name], value) for name, value in tiny_llama.model.state_dict().items())


def test_folders_without_an_adapter_say_what_is_missing(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"adapter_config\.json and adapter_model\.safetensors is missing"):
        adapter_files(str(tmp_path))
    with pytest.raises(UserError, match=r"a whole model and no adapter.*model\.name_or_path="):
        adapter_files(str(checkpoints["llama"]))
    saved_by_peft(checkpoints["llama"], tmp_path)
    (tmp_path / WEIGHTS).rename(tmp_path / "adapter_model.bin")
    with pytest.raises(UserError, match=r"safetensors is missing.*pickled weights.*are not read"):
        adapter_files(str(tmp_path))


def test_damaged_files_are_told(checkpoints: dict[str, Path], tmp_path: Path, tiny_llama: Learner) -> None:
    saved_by_peft(checkpoints["llama"], tmp_path)
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[:-100])
    with pytest.raises(UserError, match="cut or damaged"):
        merge_adapter(tiny_llama.model, str(tmp_path))
    tensors = load_file_of(whole, tmp_path)
    lacking = dict(list(tensors.items())[1:])
    for changed, reason in ((lacking, "lacks matrices"), ({"other": torch.zeros(1)}, "holds 'other'"), ({}, "lacks")):
        save_file(changed, tmp_path / WEIGHTS)
        with pytest.raises(UserError, match=reason):
            merge_adapter(tiny_llama.model, str(tmp_path))
    for text in ("", "[]", "{}", '{"peft_type": "LORA", "lora_alpha": "x"}'):
        (tmp_path / "adapter_config.json").write_text(text)
        with pytest.raises(UserError, match="no configuration of a peft adapter"):
            merge_adapter(tiny_llama.model, str(tmp_path))


def test_pipes_are_not_read(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    saved_by_peft(checkpoints["llama"], tmp_path)
    (tmp_path / WEIGHTS).unlink()
    os.mkfifo(tmp_path / WEIGHTS)
    with pytest.raises(UserError, match=WEIGHTS):
        adapter_files(str(tmp_path))


def test_the_recorded_base_model_is_compared(tmp_path: Path) -> None:
    own = {"model.safetensors": "a" * 64, "config.json": "b" * 64}
    files = {**own, f"model.adapter: {WEIGHTS}": "c" * 64}
    refuse_other_base(str(tmp_path), files)  # another program's folder says nothing
    (tmp_path / EXPORT).write_text(json.dumps({"base": {"sha256": {"model.safetensors": "a" * 64}}}))
    refuse_other_base(str(tmp_path), files)
    with pytest.raises(UserError, match=r"beside other weights: .* aaaaaaaa, .* dddddddd"):
        refuse_other_base(str(tmp_path), files | {"model.safetensors": "d" * 64})
    (tmp_path / EXPORT).write_text("{}")
    with pytest.raises(UserError, match="changed by hand"):
        refuse_other_base(str(tmp_path), files)


def edit(folder: Path, **values: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def load_file_of(content: bytes, folder: Path) -> dict[str, torch.Tensor]:
    (folder / WEIGHTS).write_bytes(content)
    return load_file(folder / WEIGHTS)


@pytest.mark.parametrize("content", ['{"peft_type": "LORA", "lora_alpha": 1' + "0" * 400 + "}", "[" * 100_000])
def test_configurations_that_no_number_fits_are_told(
    content: str, checkpoints: dict[str, Path], tmp_path: Path, tiny_llama: Learner
) -> None:
    saved_by_peft(checkpoints["llama"], tmp_path)
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(UserError, match="is no configuration of a peft adapter"):
        merge_adapter(tiny_llama.model, str(tmp_path))


def test_what_is_not_finite_is_not_added(checkpoints: dict[str, Path], tmp_path: Path, tiny_llama: Learner) -> None:
    saved_by_peft(checkpoints["llama"], tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    next(iter(tensors.values()))[0, 0] = float("nan")
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(UserError, match=r"is damaged: what it adds to .* is not finite"):
        merge_adapter(tiny_llama.model, str(tmp_path))
