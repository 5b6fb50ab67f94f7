"""Weights split into a frozen and a trained part by their singular values, through peft (OSF).

    W = U_high S_high V_high + U_low S_low V_low;    U_low, S_low, V_low are trained, the k largest directions are not
    dL/dU_low <- (I - U_high U_high^T) dL/dU_low,    dL/dV_low <- dL/dV_low (I - V_high^T V_high)

Nayak et al. 2025 (arXiv 2504.07097); k is the share `preserved` of the smaller side, rounded down. A layer of which k
is 0 stays whole and is trained as it is: peft refuses that rank. Between tasks the parts are merged into W, which is a
float32 parameter of the model; while they are apart, peft keeps W, the trained part and that part's first values.
GPT-2's transposed `Conv1D` layers, which peft leaves out without a word, are replaced by linear ones first.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.layers.architecture import linear_layers, linear_sizes

NAME = "osf"  # of the adapter in peft


@dataclass(frozen=True, kw_only=True, slots=True)
class SingularSubspace:
    """The weights of the target layers; `targets` is what `layers/architecture.py` takes."""

    targets: str | Sequence[str]
    learning_rate: float | None = None  # peak, for budgets that leave theirs open

    def apply(self, learner: Learner) -> list[nn.Parameter]:
        """Make the target layers' weights trainable. Raises UserError where they are quantized."""
        for name, layer in linear_layers(learner.model, self.targets).items():
            if not layer.get_parameter("weight").is_floating_point():
                raise UserError(
                    f"'{name}' is quantized, and its singular directions cannot be trained. Load the model with "
                    "model.quantization=null, e.g. in bf16, or use a method with adapters, such as olora."
                )
            if not isinstance(layer, nn.Linear):
                _replace(learner.model, name, _as_linear(layer))
        names = [f"{name}.weight" for name in linear_layers(learner.model, self.targets)]
        return learner.unfreeze(names)

    def split(self, learner: Learner, preserved: float) -> None:
        """Freeze the share `preserved` of each target's directions and let the rest alone take gradients."""
        from peft import OSFConfig, inject_adapter_in_model

        layers = linear_layers(learner.model, self.targets)
        ranks = {name: int(preserved * min(linear_sizes(layer) or (0, 0))) for name, layer in layers.items()}
        divided = [name for name, rank in ranks.items() if rank]
        if not divided:
            return
        config = OSFConfig(target_modules=divided, effective_rank=preserved)
        inject_adapter_in_model(config, learner.model, adapter_name=NAME)
        for name in ranks.keys() - set(divided):
            layers[name].get_parameter("weight").requires_grad_(True)

    def merge(self, learner: Learner) -> None:
        """Put the parts of each target together again and make all of it trainable."""
        for name, layer in split_layers(learner.model).items():
            layer.merge()
            _replace(learner.model, name, layer.get_base_layer())
        if "peft_config" in vars(learner.model):
            del learner.model.peft_config
        gc.collect()  # peft's gradient hooks and their layers hold each other, and so the parts' memory
        for layer in linear_layers(learner.model, self.targets).values():
            layer.get_parameter("weight").requires_grad_(True)

    @torch.no_grad()
    def project(self, learner: Learner) -> None:
        """Take out of the trained parts what lies in the frozen directions."""
        for layer in split_layers(learner.model).values():
            left, right = trained_factors(layer)
            left_high, right_high = layer._osf_U_high, layer._osf_V_high  # peft keeps the one that is not square
            left_low, right_low = layer._osf_U_low_init[NAME], layer._osf_V_low_init[NAME]
            left.copy_(without(left, left_high[NAME]) if NAME in left_high else left_low @ (left_low.T @ left))
            right.copy_(
                without(right.T, right_high[NAME].T).T if NAME in right_high else (right @ right_low.T) @ right_low
            )


def split_layers(model: nn.Module) -> dict[str, Any]:
    """Return peft's layers by name: those whose parts are apart."""
    from peft.tuners.osf import OSFLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, OSFLayer)}


def trained_factors(layer: Any) -> tuple[nn.Parameter, nn.Parameter]:
    """Return U_low `[outputs, rank]` and V_low `[rank, inputs]`."""
    factors = layer.osf_svd_params[NAME]
    return factors["U_low"], factors["V_low"]


def without(vectors: Tensor, basis: Tensor) -> Tensor:
    """Return (I - basis basis^T) vectors `[size, any]`, for a `basis` `[size, rank]` of orthonormal columns."""
    return vectors - basis @ (basis.T @ vectors)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    above, _, last = name.rpartition(".")
    model.get_submodule(above).add_module(last, module)


def _as_linear(layer: nn.Module) -> nn.Linear:
    """Return a `Conv1D` as a linear layer of the same function; a bias stays the same parameter."""
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    made = nn.Linear(weight.shape[0], weight.shape[1], device="meta")
    made.weight = nn.Parameter(weight.detach().T.contiguous(), requires_grad=False)
    made.bias = bias
    return made
