"""Distillation from pseudo-old data: on examples that the model wrote itself it has to predict what it did before.

    loss = mean_QA nll + lambda mean_LM nll                                      over the rows of new examples
         + weight ( mean_QA d + lambda mean_LM d )                               over the rows of pseudo-examples
    d = T^2 KL( softmax(z_old / T) || softmax(z / T) )                           means per labelled token of each group

LAMOL (`generative_replay.py`) with the previous model as a teacher in the place of the pseudo-examples' own tokens:
"LAMOL_KD" in the code of Zheng et al. 2024 (arXiv 2312.07887). L2KD (Chuang et al. 2020, arXiv 2010.02123) is another:
there a teacher trained on the new task is distilled on new data. The teacher is the previous task's values of the
trainable parameters (`previous_teacher.py`) and sees the pseudo-rows only. Deviations: those of `generative_replay.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED, num_labelled
from cmt_cli.core.method import Trainable
from cmt_cli.core.parameter_values import swapped_in
from cmt_cli.core.setting_checks import not_negative, positive
from cmt_cli.methods.distillation.distillation import softened_divergence
from cmt_cli.methods.distillation.previous_teacher import PreviousTeacher
from cmt_cli.methods.replay.generative_replay import MARKED, PSEUDO, GenerativeReplay
from cmt_cli.methods.replay.pseudo_examples import Generation
from cmt_cli.methods.replay.replay import kept_rows

NUM_GROUPS_OF_NEW = 2  # QA and LM rows of new examples; those of pseudo-examples follow in the same order


class DistillationPseudo(GenerativeReplay, PreviousTeacher):
    """Generative replay whose pseudo-examples are distilled from the previous model."""

    def __init__(
        self,
        *,
        trainable: Trainable,
        generation: Generation,
        lm_weight: float,
        weight: float,
        temperature: float,
        seed: int,
    ) -> None:
        """`weight` multiplies both divergences, means per labelled token in nats."""
        super().__init__(trainable=trainable, generation=generation, lm_weight=lm_weight, seed=seed)
        self._weight = not_negative(weight, "method.weight")
        self._temperature = positive(temperature, "method.temperature")

    @override
    def coefficients(self) -> tuple[float, ...]:
        """Return what multiplies the mean nll of each group of rows: pseudo-examples have none."""
        return 1.0, self.lm_weight, 0.0, 0.0

    @override
    def group(self, name: str) -> int:
        is_pseudo = name.removeprefix(MARKED).startswith(PSEUDO)
        return super().group(name) + (NUM_GROUPS_OF_NEW if is_pseudo else 0)

    @override
    def penalties(self, learner: Learner, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Return the divergence from the teacher on pseudo-rows; its share of the loop makes it means per group."""
        terms = super().penalties(learner, batch, outputs)
        if self.num_tokens is None or not self.pseudo:
            return terms
        terms["pseudo_distillation"] = outputs.token_nll.new_zeros(())
        rows = [i for i, name in enumerate(batch.ids) if self.group(name) >= NUM_GROUPS_OF_NEW]
        if rows and self._weight:
            part = kept_rows(batch, rows)
            of_labels = self._of_labels(part)[:, None] * self.num_tokens.sum() / num_labelled(batch.labels)
            with swapped_in(learner, self.teacher):
                old = learner.forward(part)
            labelled = part.labels[:, old.kept + 1] != IGNORED
            latest = outputs.logits[rows][:, torch.isin(outputs.kept, old.kept)]
            distance = softened_divergence(old.logits[labelled], latest[labelled], self._temperature)
            terms["pseudo_distillation"] = (of_labels.expand(labelled.shape)[labelled] * distance).sum()
        return terms

    def _of_labels(self, part: Batch) -> Tensor:
        """Return what the divergence of a labelled token of each pseudo-row is multiplied by, `[rows]`."""
        assert self.num_tokens is not None
        factors = torch.tensor((0.0, 0.0, 1.0, self.lm_weight), device=part.labels.device)
        return (self._weight * factors / self.num_tokens.clamp(min=1))[self.groups(part)]
