"""A mixture of LoRA experts that grows: new experts and router rows for each task, the old ones frozen.

    loss = nll + weight * 1/N sum_t KL( p_old,t || p_t )       N labelled tokens

Lifelong-MoE (Chen et al. 2023, arXiv 2305.12281) carried over to low-rank experts beside a frozen model, as LoRAMoE's
(Dou et al. 2023, arXiv 2312.09979): before a task, experts and the rows of every router are added, those of past tasks
are frozen, and the output may be held near the old model's on the new task's inputs. `layers/lora_experts.py` has the
mixture and why growing leaves the logits unchanged. p_old is the model without the newest experts, in the first task
the base model, so that it costs a forward pass and no memory. No task is told or guessed: the routers choose for each
token.

Deviations from Lifelong-MoE: the experts are low-rank updates and not feed-forward networks; every expert is computed
(no top 2); a gate's softmax runs over its own and older experts only; new experts start as nothing, not as old ones.
"""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.objectives import State
from cmt_cli.core.parameter_values import num_bytes
from cmt_cli.core.setting_checks import not_negative
from cmt_cli.layers import lora_experts
from cmt_cli.layers.lora_experts import LoraExperts
from cmt_cli.methods.architecture.growing import Growing
from cmt_cli.methods.distillation.distillation import softened_divergence


class MixtureOfExperts(Growing):
    """Trains one group of experts per task beside the frozen ones."""

    def __init__(self, *, trainable: LoraExperts, output_regularization: float) -> None:
        """`trainable` says what a task's experts are; `output_regularization` multiplies the mean divergence per token.

        Raises UserError for another choice of what is trained.
        """
        super().__init__(trainable=trainable)
        if not isinstance(trainable, LoraExperts):
            raise UserError(
                f"A growing mixture of experts trains LoRA experts, but what it was given is "
                f"{type(trainable).__name__}. Use trainable@method.trainable=lora_experts."
            )
        self._experts = trainable
        self._weight = not_negative(output_regularization, "method.output_regularization")

    @override
    def num_parts(self, learner: Learner) -> int:
        return lora_experts.num_groups(learner)

    @override
    def grow(self, learner: Learner) -> None:
        self._experts.grow(learner)

    @override
    def shrink(self, learner: Learner) -> None:
        lora_experts.shrink(learner)

    @override
    def penalties(self, learner: Learner, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Return the weighted mean divergence from the model without the task's experts, where it is not off."""
        found = super().penalties(learner, batch, outputs)
        if self._weight:
            labelled = batch.labels[:, outputs.kept + 1] != IGNORED
            with lora_experts.without_newest(learner):
                old = learner.forward(batch).logits[labelled]
            divergence = softened_divergence(old, outputs.logits[labelled], 1.0)
            found["output_regularization"] = self._weight * divergence.sum() / max(len(divergence), 1)
        return found

    @override
    def state_dict(self) -> State:
        """Return how often the experts have grown; the learner saves their values."""
        return {**super().state_dict(), "num_groups": lora_experts.num_groups(self.grown)}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.resize(state["num_groups"])

    @override
    def storage_bytes(self) -> int:
        """Return the bytes of the frozen experts and router rows of past tasks: all but the newest group."""
        past = range(lora_experts.num_groups(self.grown) - 1)
        return super().storage_bytes() + num_bytes(p for index in past for p in lora_experts.group(self.grown, index))
