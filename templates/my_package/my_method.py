"""L2-SP: fine-tuning that pulls every trained parameter towards the value it started from.

    loss = nll + weight * sum_i (theta_i - theta_start_i)^2

Li, Grandvalet and Davoine 2018, arXiv 1802.01483. It was proposed for transfer learning; here the start is the model
before the first task, for all tasks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method, Trainable
from cmt_cli.core.objectives import Fit, State
from cmt_cli.core.stream import Episodes


class MyMethod(Method):
    """Fine-tunes the chosen parameters and pulls them towards their first values."""

    def __init__(self, *, trainable: Trainable, weight: float) -> None:
        """Take what is trained, and the `weight` of the sum of squares over all trained parameters."""
        self.trainable = trainable
        self.weight = weight
        self.start: dict[str, Tensor] = {}

    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Make the chosen parameters trainable, adding adapters where that is the choice, and keep their values."""
        self.trainable.apply(learner)
        self.start = {name: parameter.detach().clone() for name, parameter in trained(learner)}

    def penalties(self, learner: Learner, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Return the weighted squared distance, which is added to the loss and logged by its name."""
        squares = [(parameter - self.start[name]).square().sum() for name, parameter in trained(learner)]
        return {"l2_sp": self.weight * torch.stack(squares).sum()}

    def state_dict(self) -> State:
        """Return the first values: all that the method carries across tasks."""
        return dict(self.start)

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned, on the device of the values it replaces."""
        self.start = {name: state[name].to(value.device) for name, value in self.start.items()}

    def storage_bytes(self) -> int:
        """Return the bytes of the first values."""
        return sum(value.numel() * value.element_size() for value in self.start.values())


def trained(learner: Learner) -> list[tuple[str, torch.nn.Parameter]]:
    """Return the parameters that take gradients, with their names."""
    return [(name, value) for name, value in learner.model.named_parameters() if value.requires_grad]
