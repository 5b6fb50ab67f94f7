"""The adapted model as its class in transformers has it: low-rank updates are added to the weights they belong to.

    W <- W + sum over adapters of (alpha / rank) B A

in float32, also where W was loaded in half precision: a sum that is rounded to W's format loses a part of what was
learned. Everything else that a method has added has no place in the class, and is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import AutoModelForCausalLM

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.learner import PREFIX_SOURCE, Learner
from cmt_cli.core.method import ELSEWHERE

_NOT_WEIGHTS = (".lora_A.", ".lora_B.", f"{PREFIX_SOURCE}.")  # parts of an adapter, which peft has a form for


def refuse_other_parts(learner: Learner) -> None:
    """Raise UserError where what was learned lies in parts that neither transformers nor peft has."""
    source = learner.prefix_source
    if source is not None and not source.is_fixed:
        raise UserError(
            "What was learned are virtual tokens that are chosen anew for each question, which neither a model of "
            f"transformers nor an adapter of peft does. {ELSEWHERE}"
        )
    if not _is_known(learner.model):
        return
    plain = _as_transformers_has_it(learner.model.config)
    names = {name.replace(".base_layer.", ".") for name, _ in learner.model.named_parameters()}
    own = {name for name in names if not any(part in f".{name}" for part in _NOT_WEIGHTS)}
    _refuse_others(own - plain.state_dict().keys(), plain)


def write_model(learner: Learner, folder: Path) -> None:
    """Merge what was learned, in place, and write weights and configuration into `folder`.

    Raises UserError where transformers' class of the model cannot hold what was learned.
    """
    model = learner.model
    _refuse_unmergeable(learner)
    model._modules.pop(PREFIX_SOURCE, None)
    _merge(model)
    plain = _as_transformers_has_it(model.config)
    _turn_linear_layers_back(model, plain)
    mine, theirs = ({name: value.shape for name, value in m.state_dict().items()} for m in (model, plain))
    _refuse_others({name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)}, plain)
    if model.generation_config is not None:
        model.generation_config.eos_token_id = list(learner.end_ids)
    dtypes = {parameter.dtype for parameter in model.parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # transformers' own, about itself
        model.save_pretrained(folder)
    model.config.dtype = torch.float32 if len(dtypes) > 1 else dtypes.pop()  # what every weight fits into
    model.config.save_pretrained(folder)


def _refuse_unmergeable(learner: Learner) -> None:
    if has_virtual_tokens(learner):
        raise UserError(
            "What was learned are virtual tokens in front of every sequence, which cannot be merged into weights. "
            "Use --format peft."
        )
    if any(not parameter.is_floating_point() for parameter in learner.model.parameters()):
        raise UserError(
            "The model was loaded with model.quantization, and nothing can be added to rounded weights. Use --format "
            "peft: the adapter is then loaded with the base model in any precision."
        )
    if not _is_known(learner.model):
        raise UserError(
            f"A model of type '{learner.model.config.model_type}' is defined by the code of its repository, which is "
            "not copied. Use --format peft where adapters are trained."
        )


def has_virtual_tokens(learner: Learner) -> bool:
    """Return whether the model puts virtual tokens in front of a sequence."""
    source = learner.prefix_source
    ids = torch.tensor([[learner.eos_id]], device=learner.device)
    with torch.no_grad():
        return source is not None and source.prefix(ids, torch.ones_like(ids).bool()) is not None


def _is_known(model: Any) -> bool:
    """Return whether transformers has the model's class."""
    return type(model.config) in AutoModelForCausalLM._model_mapping


@torch.no_grad()
def _merge(model: nn.Module) -> None:
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoraLayer)]:
        base = layer.get_base_layer()
        base.weight.data = base.weight.data.float()
        layer.merge()
        _replace(model, name, base)


def _as_transformers_has_it(config: Any) -> nn.Module:
    """Return the model of a configuration, without values."""
    with torch.device("meta"):
        model: nn.Module = AutoModelForCausalLM.from_config(config)
    return model


@torch.no_grad()
def _turn_linear_layers_back(model: nn.Module, plain: nn.Module) -> None:
    """Transpose the weights of linear layers that stand in the place of GPT-2's `Conv1D`."""
    modules = dict(model.named_modules())
    for name, module in plain.named_modules():
        if type(module).__name__ == "Conv1D" and isinstance(modules.get(name), nn.Linear):
            weight = modules[name].get_parameter("weight")
            weight.data = weight.data.T.contiguous()


def _refuse_others(names: Collection[str], plain: nn.Module) -> None:
    if names:
        raise UserError(
            f"What was learned lies in parts that a {type(plain).__name__} of transformers does not have, and peft "
            f"neither: {counted(len(names), 'weight')} such as '{min(names)}'. {ELSEWHERE}"
        )


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    above, _, last = name.rpartition(".")
    model.get_submodule(above).add_module(last, module)
