"""What lies in a model decides on its form: merged weights, an adapter of peft, or neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.exporting.adapter import is_adapter, write_adapter
from cmt_cli.exporting.check import drawn_rows, logits_of_folder, logits_of_run, refuse_difference
from cmt_cli.exporting.merged import refuse_other_parts, write_model
from cmt_cli.layers.bottleneck import Bottleneck
from cmt_cli.layers.expansion import Blocks, Width
from cmt_cli.layers.lora_experts import LoraExperts
from cmt_cli.layers.orthogonal_subspace import SingularSubspace
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.layers.pooled_prompts import Pool
from cmt_cli.layers.prefixes import PrefixKeyValues
from cmt_cli.layers.prompts import SoftPrompt, SoftPrompts
from cmt_cli.layers.trainable import Full
from cmt_cli.models.base_models import BaseModel

LORA = Lora(rank=2, alpha=8, targets="all", seed=0)
PROMPT = SoftPrompt(num_virtual=3, text=None, num_common=50, seed=0)
DIRECT = PrefixKeyValues(num_virtual=3, reparametrization=None, num_common=50, seed=0)
BY_NETWORK = PrefixKeyValues(num_virtual=3, reparametrization=8, num_common=50, seed=0)


@torch.no_grad()
def changed(learner: Learner) -> Learner:
    """Move every trained parameter by seeded noise, in the place of training."""
    generator = torch.Generator().manual_seed(3)
    for parameter in learner.trainable():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return learner


def base_of(learner: Learner) -> BaseModel:
    return BaseModel(learner.name, None, Path(learner.name))


def assert_same(learner: Learner, folder: Path, *, form: str) -> None:
    """Write the learner's model and compare what is read back, bit for bit but for another order of sums."""
    ids = drawn_rows(learner)
    expected, base = logits_of_run(learner, ids), base_of(learner)
    folder.mkdir()
    if form == "peft":
        write_adapter(learner, base, folder)
    else:
        write_model(learner, folder)
    found = logits_of_folder(folder, base if form == "peft" else None, ids, trust_remote_code=False)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("form", ["peft", "merged"])
@pytest.mark.parametrize("num_adapters", [1, 3])
def test_summed_adapters_are_one(any_learner: Learner, tmp_path: Path, num_adapters: int, form: str) -> None:
    for index in range(num_adapters):
        LORA.grow(any_learner, index)
        changed(any_learner)
    assert is_adapter(any_learner)
    assert_same(any_learner, tmp_path / "out", form=form)


def test_ranks_of_adapters_add_up(tiny_llama: Learner, tmp_path: Path) -> None:
    for index in range(3):
        Lora(rank=2, alpha=8, targets="query_value", seed=0).grow(tiny_llama, index)
    write_adapter(tiny_llama, base_of(tiny_llama), tmp_path)
    config = LoraConfig.from_pretrained(tmp_path)
    assert (config.r, config.lora_alpha) == (6, 24)
    assert config.target_modules == {"q_proj", "v_proj"}


@pytest.mark.parametrize("trainable", [DIRECT, BY_NETWORK, PROMPT])
def test_virtual_tokens_are_an_adapter(any_learner: Learner, tmp_path: Path, trainable: Any) -> None:
    trainable.apply(any_learner)
    changed(any_learner)
    assert_same(any_learner, tmp_path / "out", form="peft")


def test_several_prompts_are_one(tiny_llama: Learner, tmp_path: Path) -> None:
    prompts = SoftPrompts()
    tiny_llama.add_prefix(prompts)
    for width in (None, 8):  # the newest one through its network
        PROMPT.grow(tiny_llama, prompts, width=width)
        changed(tiny_llama)
    assert_same(tiny_llama, tmp_path / "out", form="peft")


def test_prompts_cannot_be_merged(tiny_llama: Learner, tmp_path: Path) -> None:
    PROMPT.apply(tiny_llama)
    with pytest.raises(UserError, match=r"virtual tokens .* cannot be merged into weights\. Use --format peft"):
        write_model(tiny_llama, tmp_path)


def test_room_for_prompts_alone_is_no_change(tiny_llama: Learner, tmp_path: Path) -> None:
    tiny_llama.add_prefix(SoftPrompts())
    assert not is_adapter(tiny_llama)
    assert_same(tiny_llama, tmp_path / "out", form="merged")


@pytest.mark.parametrize("trainable", [Full(num_frozen_blocks=0), Blocks(num_new_blocks=1)])
def test_weights_are_written_merged(any_learner: Learner, tmp_path: Path, trainable: Any) -> None:
    trainable.apply(any_learner)
    changed(any_learner)
    refuse_other_parts(any_learner)
    with pytest.raises(UserError, match=r"no adapter to write.*--format merged"):
        write_adapter(any_learner, base_of(any_learner), tmp_path)
    assert_same(any_learner, tmp_path / "out", form="merged")


def test_replaced_layers_of_gpt2_are_turned_back(tiny_gpt2: Learner, tmp_path: Path) -> None:
    subspace = SingularSubspace(targets="attention")  # one of the two is square: its shape would not tell
    subspace.apply(tiny_gpt2)
    subspace.split(tiny_gpt2, 0.5)
    changed(tiny_gpt2)
    subspace.merge(tiny_gpt2)
    assert_same(tiny_gpt2, tmp_path / "out", form="merged")


@pytest.mark.parametrize(
    ("trainable", "part"),
    [
        (Bottleneck(width=2, places=["mlp"], layer_norm=False, seed=0), "mlp.bottleneck.down"),
        (LoraExperts(num_experts=1, rank=2, alpha=4, targets="query_value", seed=0), "experts"),
        (Width(num_new_units=2, seed=0), r"mlp\.(added|base)"),
    ],
)
def test_other_parts_are_refused_by_name(tiny_llama: Learner, trainable: Any, part: str) -> None:
    trainable.apply(tiny_llama)
    with pytest.raises(UserError, match=rf"parts that a LlamaForCausalLM of transformers does not have.*{part}"):
        refuse_other_parts(tiny_llama)


def test_chosen_prompts_are_refused(tiny_llama: Learner) -> None:
    Pool(num_prompts=3, num_virtual=2, num_chosen=1, num_common=50, seed=0).apply(tiny_llama)
    with pytest.raises(UserError, match="chosen anew for each question"):
        refuse_other_parts(tiny_llama)


def test_half_precision_weights_keep_the_whole_update(tiny_llama: Learner, tmp_path: Path) -> None:
    tiny_llama.model.bfloat16()
    Lora(rank=2, alpha=8, targets="query_value", seed=0).apply(tiny_llama)
    changed(tiny_llama)
    layer = tiny_llama.model.model.layers[0].self_attn.q_proj
    update = layer.scaling["adapter_0"] * layer.lora_B["adapter_0"].weight @ layer.lora_A["adapter_0"].weight
    expected = layer.base_layer.weight.float() + update
    write_model(tiny_llama, tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).dtype == torch.float32
    found = AutoModelForCausalLM.from_pretrained(tmp_path).model.layers[0].self_attn.q_proj.weight
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.detach(), expected.detach())


def test_an_answer_ends_where_the_learners_does(tiny_llama: Learner, tmp_path: Path) -> None:
    tiny_llama.model.generation_config.eos_token_id = [1, 7]
    write_model(tiny_llama, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.generation_config.eos_token_id == list(tiny_llama.end_ids)
    assert 7 in tiny_llama.end_ids


def test_other_logits_are_noticed() -> None:
    logits = torch.tensor([[[1.0, -10.0]]])
    refuse_difference(logits, logits + 0.009, torch.float32)
    for other in (logits + 0.011, logits * float("nan")):
        with pytest.raises(UserError, match="does not compute what the run's model does"):
            refuse_difference(logits, other, torch.float32)


def test_hidden_changes_are_noticed(tiny_llama: Learner, tmp_path: Path) -> None:
    def shifted(module: Any, inputs: Any, output: Tensor) -> Tensor:
        return output + 1

    ids = drawn_rows(tiny_llama)
    tiny_llama.model.model.norm.register_forward_hook(shifted)  # no parameter tells of it
    expected = logits_of_run(tiny_llama, ids)
    write_model(tiny_llama, tmp_path)
    found = logits_of_folder(tmp_path, None, ids, trust_remote_code=False)
    with pytest.raises(UserError, match="it was not kept"):
        refuse_difference(expected, found, torch.float32)


def test_layers_of_an_ambiguous_name_are_named_whole(tiny_gpt2: Learner, tmp_path: Path) -> None:
    Lora(rank=2, alpha=8, targets="attention", seed=0).apply(tiny_gpt2)  # c_proj is a layer of the MLP, too
    changed(tiny_gpt2)
    assert_same(tiny_gpt2, tmp_path / "out", form="peft")
    named = LoraConfig.from_pretrained(tmp_path / "out").target_modules
    assert named == {f"transformer.h.{i}.attn.{name}" for i in range(2) for name in ("c_attn", "c_proj")}
