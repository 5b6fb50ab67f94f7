"""AdamW over a method's parameter groups, with a flat state that safetensors can hold.

Loshchilov and Hutter 2019 (arXiv 1711.05101); with `weight_decay` 0 it is Adam.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.objectives import Budget, ParamGroup, State
from cmt_cli.core.sharded import full_tensor, shard_like

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Optimizer:
    """AdamW whose learning rate is set anew at each step: rate = scheduled rate * the group's multiplier."""

    def __init__(self, groups: Sequence[ParamGroup], budget: Budget) -> None:
        """Build the optimizer; raise UserError if there is nothing to train."""
        self._multipliers = [group.lr_multiplier for group in groups if len(group.parameters)]
        self.parameters: list[nn.Parameter] = [p for group in groups for p in group.parameters]
        if not self.parameters:
            raise UserError(
                "There is nothing to train: every parameter group of the method is empty. Choose what is trained, e.g. "
                "trainable@method.trainable=full or lora; `unchanged` is for members of a combination."
            )
        self._adamw = torch.optim.AdamW(
            [{"params": list(group.parameters)} for group in groups if len(group.parameters)],
            lr=0.0,  # set at each step
            betas=(budget.betas[0], budget.betas[1]),
            weight_decay=budget.weight_decay,
        )

    def zero_grad(self) -> None:
        """Drop all gradients."""
        self._adamw.zero_grad(set_to_none=True)

    def step(self, learning_rate: float) -> None:
        """Update the parameters from their gradients."""
        for group, multiplier in zip(self._adamw.param_groups, self._multipliers, strict=True):
            group["lr"] = learning_rate * multiplier
        self._adamw.step()

    def state_dict(self) -> State:
        """Return parameters and moments by the parameter's index, whole and copied to the CPU."""
        state: State = {}
        for i, parameter in enumerate(self.parameters):
            state[f"parameter.{i}"] = _copy(parameter)
            state |= {f"{name}.{i}": _copy(value) for name, value in self._adamw.state.get(parameter, {}).items()}
        return state

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned, in place; raise ValueError if the parameters are not the same."""
        saved = sum(key.startswith("parameter.") for key in state)
        if saved != len(self.parameters):
            raise ValueError(
                f"The checkpoint holds {saved} trained parameters, this method has {len(self.parameters)}."
            )
        for i, parameter in enumerate(self.parameters):
            value = state[f"parameter.{i}"]
            if value.shape != parameter.shape:
                raise ValueError(f"Parameter {i}: checkpoint {list(value.shape)}, method {list(parameter.shape)}.")
            with torch.no_grad():
                parameter.copy_(shard_like(value, parameter))
            if f"step.{i}" in state:
                self._adamw.state[parameter] = {
                    name: _moment(state[f"{name}.{i}"], name, parameter) for name in _MOMENTS
                }


def _copy(value: Tensor) -> Tensor:
    return full_tensor(value.detach()).to("cpu", copy=True)


def _moment(value: Tensor, name: str, parameter: nn.Parameter) -> Tensor:
    # AdamW keeps its step counter on the CPU: a counter on the device would cost a synchronization per step.
    return value.clone() if name == "step" else shard_like(value.clone(), parameter)
