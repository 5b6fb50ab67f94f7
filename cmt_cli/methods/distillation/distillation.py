"""Distillation from new data: on the new task's inputs the model has to predict what the previous model predicts there.

    loss = nll + weight * T^2 * 1/N sum_t KL( softmax(z_old,t / T) || softmax(z_t / T) )       N labelled tokens

Learning without forgetting (Li and Hoiem 2016, arXiv 1606.09282) for language models: the "old heads" are the whole
vocabulary at every labelled position, replayed rows included. T^2 keeps the gradient's size independent of T (Hinton et
al. 2015, arXiv 1503.02531); the paper has no such factor, and its warm-up of a new head has no counterpart. In the
first task nothing is added. The teacher is the previous task's values of the trainable parameters, swapped in for one
more forward pass per step (`core/parameter_values.py`): with an adapter it costs the adapter's size.
"""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED, kl_divergence
from cmt_cli.core.method import Trainable
from cmt_cli.core.parameter_values import swapped_in
from cmt_cli.core.setting_checks import not_negative, positive
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.methods.distillation.previous_teacher import PreviousTeacher


class Distillation(PreviousTeacher):
    """Fine-tuning with the previous model as a teacher on the new task's inputs."""

    trains_sharded = (Lora,)

    def __init__(self, *, trainable: Trainable, weight: float, temperature: float) -> None:
        """`weight` multiplies the mean divergence per labelled token in nats, scaled by the squared temperature."""
        super().__init__(trainable=trainable)
        self._weight = not_negative(weight, "method.weight")
        self._temperature = positive(temperature, "method.temperature")

    @override
    def penalties(self, learner: Learner, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        terms = super().penalties(learner, batch, outputs)
        if self.teacher:
            labelled = batch.labels[:, outputs.kept + 1] != IGNORED
            with swapped_in(learner, self.teacher):
                old = learner.forward(batch).logits[labelled]
            divergence = softened_divergence(old, outputs.logits[labelled], self._temperature)
            terms["distillation"] = self._weight * divergence.sum() / max(len(divergence), 1)
        return terms


def softened_divergence(teacher_logits: Tensor, student_logits: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(teacher || student) of both distributions at temperature T, `[...]`, for logits `[..., vocab]`."""
    teacher, student = teacher_logits.float() / temperature, student_logits.float() / temperature
    return temperature**2 * kl_divergence(teacher, student)
