"""O-LoRA: a new adapter per task, kept orthogonal to the subspaces of the old ones.

    loss = nll + lambda_1 sum_layers sum_{i<t} sum |A_i A_t^T| + lambda_2 sum_layers (||A_t|| + ||B_t||)

Wang et al. 2023, "Orthogonal Subspace Learning for Language Model Continual Learning" (arXiv 2310.14152). The rows of A
span what an adapter reads. The paper's equation squares the entries of A_i A_t^T; its released code, which made the
published numbers, sums their absolute values, and so does this. Norms are Frobenius norms. Deviations: no dropout, and
old adapters stay separate where the code concatenates them, which is the same function. Known weakness: an A_t that
shrinks towards 0 meets the penalty as well as an orthogonal one does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.learner import Learner
from cmt_cli.layers import peft_lora
from cmt_cli.layers.peft_lora import Lora, LowRankPair
from cmt_cli.methods.architecture.inc_lora import IncLora


def overlap(old: Tensor, new: Tensor) -> Tensor:
    """Return sum |old new^T|, the scalar overlap of the rows of `old` `[ranks, inputs]` and `new` `[rank, inputs]`."""
    return (old @ new.T).abs().sum()


class OLora(IncLora):
    """Trains one adapter per task, orthogonal to the older ones."""

    def __init__(self, *, trainable: Lora, orthogonality: float, norm: float) -> None:
        """`orthogonality` multiplies the summed overlaps, `norm` the summed norms of the new matrices."""
        super().__init__(trainable=trainable)
        self._orthogonality = orthogonality
        self._norm = norm

    @override
    def penalties(self, learner: Learner, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Return the weighted overlap with the older adapters and the weighted norms, where they are not off."""
        found = super().penalties(learner, batch, outputs)
        with torch.autocast(learner.device.type, enabled=False):
            if self._orthogonality and len(self.adapters) > 1:
                found["orthogonality"] = self._orthogonality * total_overlap(self.adapters[:-1], self.adapters[-1])
            if self._norm:
                matrices = peft_lora.parameters(self.adapters[-1])
                found["norm"] = self._norm * torch.stack([matrix.norm() for matrix in matrices]).sum()
        return found


def total_overlap(old: Sequence[Sequence[LowRankPair]], new: Sequence[LowRankPair]) -> Tensor:
    """Return the overlap of a new adapter with all old ones, summed over the layers."""
    layers = zip(new, *old, strict=True)
    return torch.stack([overlap(torch.cat([pair.down for pair in past]), pair.down) for pair, *past in layers]).sum()
