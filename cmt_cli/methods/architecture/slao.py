"""SLAO: one LoRA adapter; each task is learned from an orthogonal start and then merged into what is kept.

    start of task t > 1:  A = (Q sign(diag R))^T with Q R = A_{t-1}^T,    B = B_{t-1}
    after task t:         A_merged = A_t,    B_merged <- B_merged + (B_t - B_merged) / sqrt(t)

Qiao and Mahdavi 2025, "Merge before Forget" (arXiv 2512.23017): A_{t-1}, B_{t-1} are the last task's fine-tuned
matrices, not the merged ones. A changes little from task to task, so only B is averaged. The sign makes the
factorization unique. The merged adapter answers; between tasks the model holds it. The first task is that of
method=lora. Deviation: no dropout.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.learner import Learner
from cmt_cli.core.objectives import Fit, State
from cmt_cli.core.parameter_values import num_bytes
from cmt_cli.core.stream import Episodes, Task
from cmt_cli.layers import peft_lora
from cmt_cli.layers.peft_lora import Lora, LowRankPair, checked
from cmt_cli.methods.sequential.finetune import FineTune


def orthogonal_rows(down: Tensor) -> Tensor:
    """Return orthonormal rows that span those of `down` `[rank, inputs]`; the identity on rows that are so already."""
    basis, triangle = torch.linalg.qr(down.T)
    signs = torch.where(triangle.diagonal() < 0, -1.0, 1.0)
    return (basis * signs).T.contiguous()


def merged(old: Tensor, new: Tensor, num_tasks: int) -> Tensor:
    """Return old + (new - old) / sqrt(num_tasks), where `new` is the matrix of task number `num_tasks`."""
    return old + (new - old) / num_tasks**0.5


class Slao(FineTune):
    """Trains one adapter and merges it after each task."""

    def __init__(self, *, trainable: Lora) -> None:
        """`trainable` is the adapter. Raises UserError for anything else."""
        super().__init__(trainable=checked(trainable))
        self._num_tasks = 0
        self._pairs: list[LowRankPair] = []
        self._trained: list[Tensor] = []  # B of the last task, one `[outputs, rank]` per layer
        self._merged: list[Tensor] = []

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        super().before_stream(learner, episodes, fit)
        self._pairs = peft_lora.adapter(learner, 0)
        self._trained = [pair.up.detach().clone() for pair in self._pairs]
        self._merged = [pair.up.detach().clone() for pair in self._pairs]

    @override
    @torch.no_grad()
    def before_task(self, learner: Learner, task: Task) -> None:
        """Start from the last task's matrices, A made orthogonal."""
        super().before_task(learner, task)
        if self._num_tasks == 0:
            return
        for pair, trained in zip(self._pairs, self._trained, strict=True):
            pair.down.copy_(orthogonal_rows(pair.down))
            pair.up.copy_(trained)

    @override
    @torch.no_grad()
    def after_task(self, learner: Learner, task: Task) -> None:
        """Merge what was learned, and answer with the merged adapter."""
        super().after_task(learner, task)
        self._num_tasks += 1
        for i, pair in enumerate(self._pairs):
            self._trained[i] = pair.up.detach().clone()
            self._merged[i] = merged(self._merged[i], pair.up, self._num_tasks)
            pair.up.copy_(self._merged[i])

    @override
    def state_dict(self) -> State:
        trained = {f"trained.{i}": value for i, value in enumerate(self._trained)}
        kept = {f"merged.{i}": value for i, value in enumerate(self._merged)}
        return {"num_tasks": self._num_tasks, **trained, **kept}

    @override
    def load_state_dict(self, state: State) -> None:
        self._num_tasks = state["num_tasks"]
        for i, pair in enumerate(self._pairs):
            self._trained[i] = state[f"trained.{i}"].to(pair.up.device)
            self._merged[i] = state[f"merged.{i}"].to(pair.up.device)

    @override
    def storage_bytes(self) -> int:
        return num_bytes([*self._trained, *self._merged])
