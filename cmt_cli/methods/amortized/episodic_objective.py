"""What meta-training of cmt, mac and mbc minimizes, but for how a batch is scored."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.learner import Learner
from cmt_cli.core.objectives import Objective, ParamGroup
from cmt_cli.methods.amortized.amortizer import Amortizer, Item
from cmt_cli.methods.amortized.encoded_batch import EncodedBatch, encode_batch, in_chunks


class EpisodicObjective(Objective):
    """A loss over (question, document) pairs whose batch is the bank; subclasses say how a batch is scored."""

    # What runs a model is data-parallel; the rows of a batch meet in the matching, which each rank does for all.
    is_data_parallel = True
    has_collectives = True

    def __init__(self, learner: Learner, amortizer: Amortizer, items: Sequence[Item], seed: int) -> None:
        self.learner, self.amortizer, self.items, self.seed = learner, amortizer, items, seed

    @property
    @override
    def num_items(self) -> int:
        """Return the number of questions."""
        return len(self.items)

    @override
    def lengths(self) -> Sequence[int] | None:
        """Return the documents' lengths in tokens."""
        return [len(item.document) for item in self.items]

    @override
    def param_groups(self) -> Sequence[ParamGroup]:
        """Return the amortizer's parameters."""
        return [ParamGroup([p for p in self.amortizer.parameters() if p.requires_grad])]

    @override
    def backward(self, items: Sequence[int], *, micro_batch_size: int, step: int, num_steps: int) -> dict[str, Tensor]:
        """Add the gradient of one batch; see `Objective.backward`."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        processes = self.learner.processes
        with self.learner.mixed_precision.autocast(self.learner.device):
            batch = encode_batch(self.amortizer, [self.items[i] for i in items], micro_batch_size, processes)
            found = self.terms(batch, micro_batch_size, generator)
        terms = (
            {name: term / processes.world_size for name, term in found.items()} if processes.world_size > 1 else found
        )
        loss = torch.stack(list(terms.values())).sum()
        loss.backward()
        return {**{name: term.detach() for name, term in terms.items()}, "loss": loss.detach()}

    def in_chunks(self, function: Callable[..., Tensor], size: int, *arguments: Any) -> Tensor:
        """Apply a function to aligned slices of its arguments, distributed over the ranks; see `in_chunks`."""
        return in_chunks(function, size, *arguments, process_group=self.learner.processes)

    @abstractmethod
    def terms(self, batch: EncodedBatch, micro_batch_size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the weighted terms of the loss by name."""
