"""The loss of a labelled task or of new documents, with the outermost method's hooks.

    loss = 1/N sum over labelled tokens of w_t * nll_t  +  sum over penalties

N counts the labelled tokens of the *effective* batch, replayed rows included, so micro-batches do not change the loss.
A penalty is either independent of the batch or a mean per labelled token: each micro-batch adds it by its share of N.
`mix_batch` is called once per effective batch, before it is cut, so the replayed rows do not depend on the cut either.
Several ranks mix the same batch and take every n-th row of it each, with the same N: their gradients add up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Batch
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import num_labelled
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import TOKENS, Objective, ParamGroup
from cmt_cli.core.process_group import ProcessGroup
from cmt_cli.core.stream import Example
from cmt_cli.training.tokenized import Progress, tokenized


class SupervisedObjective(Objective):
    """The next-token loss on examples; an item is one row of tokens."""

    is_data_parallel = True
    has_collectives = False

    def __init__(
        self, learner: Learner, method: Method, examples: Sequence[Example], *, progress: Progress | None = None
    ) -> None:
        """Tokenize `examples` once, see `tokenized`."""
        self._learner = learner
        self._method = method
        self._rows = tokenized(learner, examples, progress)
        self._lengths = self._rows.lengths()
        self._mixed: tuple[int, Batch] | None = None

    @property
    @override
    def num_items(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    @override
    def lengths(self) -> Sequence[int]:
        """Return each row's number of tokens."""
        return self._lengths

    @override
    def param_groups(self) -> Sequence[ParamGroup]:
        """Return what the method trains."""
        return self._method.param_groups(self._learner)

    @override
    def backward(self, items: Sequence[int], *, micro_batch_size: int, step: int, num_steps: int) -> dict[str, Tensor]:
        """Add the gradient of one effective batch; return "loss", "nll", each penalty, and "num_tokens", detached.

        "num_tokens" counts those of the mixed batch: rows from a memory cost as much as new ones.
        """
        batch = self._batch(items, step)
        num_tokens = num_labelled(batch.labels).clamp(min=1)
        terms: dict[str, Tensor] = {}
        for part, weight in local_micro_batches(batch, micro_batch_size, self._learner.processes):
            losses = {name: weight * value for name, value in self._losses(part, num_tokens).items()}
            loss = torch.stack(list(losses.values())).sum()
            loss.backward()
            for name, value in {"loss": loss, **losses}.items():
                terms[name] = terms[name] + value.detach() if name in terms else value.detach()
        return {**terms, TOKENS: batch.attention_mask.sum()}

    def _batch(self, items: Sequence[int], step: int) -> Batch:
        # A step that is repeated after an out-of-memory error must see the same replayed rows.
        if self._mixed is None or self._mixed[0] != step:
            batch = self._learner.collate([self._rows[i] for i in items])
            self._mixed = (step, self._method.mix_batch(self._learner, batch))
        return self._mixed[1]

    def _losses(self, batch: Batch, num_tokens: Tensor) -> dict[str, Tensor]:
        outputs = self._learner.forward(batch, hidden_states=self._method.needs_hidden_states)
        weights = self._method.token_weights(self._learner, batch, outputs)
        nll = outputs.token_nll if weights is None else outputs.token_nll * weights
        losses = {"nll": nll.sum() / num_tokens}
        share = num_labelled(batch.labels) / num_tokens
        for name, penalty in self._method.penalties(self._learner, batch, outputs).items():
            if name in ("loss", "nll", TOKENS):
                raise ValueError(f"A penalty may not be named '{name}': that is the name of a term of the loop.")
            losses[name] = share * penalty
        return losses


def local_micro_batches(batch: Batch, size: int, process_group: ProcessGroup) -> Iterator[tuple[Batch, float]]:
    """Yield this rank's micro-batches of a batch, each with its weight: 1, or 0 for one that only keeps step.

    Rows are dealt out in turn, so that all ranks get like lengths. Each yields as many parts as the others, because a
    model whose weights are sharded is run by all of them together; one that has no row left runs the first one, with
    weight 0, so that it knows the names of the terms, too.
    """
    if process_group.world_size == 1:
        yield from ((part, 1.0) for part in micro_batches(batch, size))
        return
    own = list(range(process_group.rank, len(batch.ids), process_group.world_size))
    parts = [own[start : start + size] for start in range(0, len(own), size)]
    most_rows = math.ceil(len(batch.ids) / process_group.world_size)
    for part in parts:
        yield rows_of(batch, part), 1.0
    for _ in range(math.ceil(most_rows / size) - len(parts)):
        yield rows_of(batch, [0]), 0.0


def rows_of(batch: Batch, numbers: Sequence[int]) -> Batch:
    """Return some rows, padded only to their own longest."""
    chosen = torch.tensor(list(numbers), device=batch.input_ids.device)
    longest = int(batch.attention_mask[chosen].sum(dim=1).max())
    return Batch(
        tuple(batch.ids[i] for i in numbers),
        batch.input_ids[chosen, :longest],
        batch.attention_mask[chosen, :longest],
        batch.labels[chosen, :longest],
        batch.replayed[chosen],
    )


def micro_batches(batch: Batch, size: int) -> Iterator[Batch]:
    """Cut a batch into parts of at most `size` rows, each padded only to its own longest row."""
    if len(batch.ids) <= size:
        yield batch
        return
    lengths = batch.attention_mask.sum(dim=1).tolist()
    for start in range(0, len(batch.ids), size):
        rows = slice(start, start + size)
        longest = max(lengths[rows])
        yield Batch(
            batch.ids[rows],
            batch.input_ids[rows, :longest],
            batch.attention_mask[rows, :longest],
            batch.labels[rows, :longest],
            batch.replayed[rows],
        )
