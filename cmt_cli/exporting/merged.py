"""The adapted model as its class in transformers has it: low-rank updates are added to the weights they belong to.

    W <- W + sum over adapters of (alpha / rank) B A

in float32, also where W was loaded in half precision: a sum that is rounded to W's format loses a part of what was
learned. Everything else that a method has added has no place in the class, and is refused.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import AutoModelForCausalLM

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.learner import PREFIX_SOURCE, Learner


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
    _refuse_other_parts(model, plain)
    if model.generation_config is not None:
        model.generation_config.eos_token_id = list(learner.end_ids)
    dtypes = {parameter.dtype for parameter in model.parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # transformers' own, about itself
        model.save_pretrained(folder)
    model.config.dtype = torch.float32 if len(dtypes) > 1 else dtypes.pop()  # what every weight fits into
    model.config.save_pretrained(folder)


def _refuse_unmergeable(learner: Learner) -> None:
    model, source = learner.model, learner.prefix_source
    if source is not None and _acts(learner):
        raise UserError(
            "What was learned are virtual tokens in front of every sequence, which cannot be merged into weights. "
            "Use --format peft."
        )
    if any(not parameter.is_floating_point() for parameter in model.parameters()):
        raise UserError(
            "The model was loaded with model.quantization, and nothing can be added to rounded weights. Use --format "
            "peft: the adapter is then loaded with the base model in any precision."
        )
    if type(model.config) not in AutoModelForCausalLM._model_mapping:
        raise UserError(
            f"A model of type '{model.config.model_type}' is defined by the code of its repository, which is not "
            "copied. Use --format peft where adapters are trained."
        )


def _acts(learner: Learner) -> bool:
    source = learner.prefix_source
    ids = torch.tensor([[learner.eos_id]], device=learner.device)
    return source is not None and (not source.is_fixed or source.prefix(ids, torch.ones_like(ids).bool()) is not None)


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


def _refuse_other_parts(model: nn.Module, plain: nn.Module) -> None:
    """Raise UserError unless the model has the same weights by name and shape as its class."""
    mine, theirs = ({name: value.shape for name, value in m.state_dict().items()} for m in (model, plain))
    others = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    if others:
        raise UserError(
            f"What was learned lies in parts that a {type(plain).__name__} does not have, and peft neither: "
            f"{counted(len(others), 'weight')} such as '{others[0]}'. Use the run through `cmt ask`, or "
            "`cmt_cli.load` in Python."
        )


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    above, _, last = name.rpartition(".")
    model.get_submodule(above).add_module(last, module)
