"""Fine-tuning that keeps values of parameters across tasks: anchors of penalties, importances, a teacher.

How such values are saved, restored and counted is the same for all of them; only what they are for differs.
"""

from __future__ import annotations

from typing_extensions import override

from cmt_cli.core.method import Trainable
from cmt_cli.core.objectives import State
from cmt_cli.core.parameter_values import Values, from_state, num_bytes, to_state
from cmt_cli.methods.sequential.finetune import FineTune


class KeepsValues(FineTune):
    """Keeps named sets of values in `kept`, float32, each under its name in the saved state."""

    keeps_values_by_name = True

    def __init__(self, *, trainable: Trainable) -> None:
        super().__init__(trainable=trainable)
        self.kept: dict[str, Values] = {}

    @override
    def state_dict(self) -> State:
        state = super().state_dict()
        for name, values in self.kept.items():
            state |= to_state(values, f"{name}.")
        return state

    @override
    def load_state_dict(self, state: State) -> None:
        """Restore the sets that `kept` names."""
        super().load_state_dict(state)
        self.kept = {name: from_state(state, f"{name}.", self.device) for name in self.kept}

    @override
    def storage_bytes(self) -> int:
        return super().storage_bytes() + sum(num_bytes(values.values()) for values in self.kept.values())
