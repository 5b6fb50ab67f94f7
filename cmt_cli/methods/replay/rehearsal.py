"""Fine-tuning with a memory of old examples: what `replay`, `agem` and `gem` share.

After each task its examples are offered to the buffer. Rows of old examples are drawn by (seed, task, step), so what is
drawn in a step depends neither on the steps before it nor on where a run was interrupted.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Row
from cmt_cli.core.learner import SCORING_TOKENS, Learner
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.method import Trainable
from cmt_cli.core.objectives import State
from cmt_cli.core.stream import Example, Task
from cmt_cli.core.tokens import length_batches
from cmt_cli.memory.example_buffer import ExampleBuffer
from cmt_cli.methods.sequential.finetune import FineTune


class Rehearsal(FineTune):
    """Keeps old examples in `buffer`; its children say what they are used for."""

    def __init__(self, *, trainable: Trainable, buffer: ExampleBuffer, seed: int) -> None:
        """`seed` draws the old rows of each step."""
        super().__init__(trainable=trainable)
        self.buffer = buffer
        self._seed = seed
        self._task_index = -1

    @override
    def before_task(self, learner: Learner, task: Task) -> None:
        super().before_task(learner, task)
        self.buffer.check(task.train)
        self._task_index = task.index

    @override
    def after_task(self, learner: Learner, task: Task) -> None:
        super().after_task(learner, task)
        self.buffer.add(task.train, task=task.index, features=lambda examples: pooled_features(learner, examples))

    def generator(self, purpose: str, step: int) -> random.Random:
        """Return the generator of one draw of the current task."""
        return random.Random(f"{purpose} {self._seed} {self._task_index} {step}")

    @override
    def state_dict(self) -> State:
        return {**super().state_dict(), **{f"buffer.{name}": value for name, value in self.buffer.state_dict().items()}}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.buffer.load_state_dict(
            {name.removeprefix("buffer."): value for name, value in state.items() if name.startswith("buffer.")}
        )

    @override
    def storage_bytes(self) -> int:
        return super().storage_bytes() + self.buffer.storage_bytes()


def replayed_rows(learner: Learner, examples: Iterable[Example]) -> list[Row]:
    """Tokenize old examples to rows that are marked as replayed."""
    return [replace(row, replayed=True) for example in examples for row in learner.rows(example)]


def drawn(rows: Sequence[Row], num: int, generator: random.Random) -> list[Row]:
    """Return `num` rows drawn without replacement; where there are fewer, all of them as often as needed."""
    repeated = list(rows) * (num // len(rows)) if rows else []
    return repeated + generator.sample(rows, num - len(repeated)) if rows else []


@torch.no_grad()
def pooled_features(learner: Learner, examples: Sequence[Example]) -> Tensor:
    """Return the last hidden states of each example's tokens, averaged over all tokens of all its rows, [n, hidden]."""
    owned = [(i, row) for i, example in enumerate(examples) for row in learner.rows(example)]
    sums = torch.zeros(len(examples), learner.hidden_size)
    counts = torch.zeros(len(examples), 1)
    for chosen in length_batches([len(row.input_ids) for _, row in owned], max_tokens=SCORING_TOKENS):
        batch = learner.collate([owned[k][1] for k in chosen])
        batch = replace(batch, labels=torch.full_like(batch.labels, IGNORED))  # no logits are computed
        states = learner.forward(batch, hidden_states=True).hidden_states[-1].float()
        owners = torch.tensor([owned[k][0] for k in chosen])
        sums.index_add_(0, owners, (states * batch.attention_mask[..., None]).sum(dim=1).cpu())
        counts.index_add_(0, owners, batch.attention_mask.sum(dim=1, keepdim=True).float().cpu())
    return sums / counts
