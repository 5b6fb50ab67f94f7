"""Incremental LoRA: a new adapter for each task, the old ones frozen, all of them summed in every answer.

    y = W x + (alpha / rank) sum_i B_i A_i x;    only A_t, B_t of the current task t are trained

The baseline "IncLoRA" of O-LoRA (Wang et al. 2023, arXiv 2310.14152). A new adapter starts with B = 0, so growing
leaves the model's function unchanged. With one task it is fine-tuning of one adapter (method=lora).
"""

from __future__ import annotations

from typing_extensions import override

from cmt_cli.core.learner import Learner
from cmt_cli.core.objectives import State
from cmt_cli.core.parameter_values import num_bytes
from cmt_cli.layers import peft_lora
from cmt_cli.layers.peft_lora import Lora, LowRankPair, checked
from cmt_cli.methods.architecture.growing import Growing


class IncLora(Growing):
    """Trains one adapter per task on top of the frozen ones."""

    trains_sharded = (Lora,)

    def __init__(self, *, trainable: Lora) -> None:
        """`trainable` says what an adapter is; one is added before each task. Raises UserError for anything else."""
        super().__init__(trainable=trainable)
        self._lora = checked(trainable)
        self._adapters: list[list[LowRankPair]] = []

    @property
    def adapters(self) -> list[list[LowRankPair]]:
        """Return the adapters, one per task so far, each a pair for every target layer."""
        return self._adapters

    @override
    def num_parts(self, learner: Learner) -> int:
        return len(self._adapters)

    @override
    def grow(self, learner: Learner) -> None:
        self._adapters.append(self._lora.grow(learner, len(self._adapters)))

    @override
    def shrink(self, learner: Learner) -> None:
        self._adapters.pop()
        peft_lora.remove(learner, len(self._adapters))

    @override
    def state_dict(self) -> State:
        """Return the number of adapters; the learner saves their values."""
        return {"num_adapters": len(self._adapters)}

    @override
    def load_state_dict(self, state: State) -> None:
        self.resize(state["num_adapters"])

    @override
    def storage_bytes(self) -> int:
        """Return the bytes of the frozen adapters of past tasks: all but the newest."""
        return num_bytes(p for pairs in self._adapters[:-1] for p in peft_lora.parameters(pairs))
