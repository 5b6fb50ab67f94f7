"""Which parameters of the base model a gradient method trains: all of them, or all but the bottom.

`layers/peft_lora.py` has the choice that adds adapters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.learner import Learner
from cmt_cli.layers.architecture import block_index


@dataclass(frozen=True, kw_only=True, slots=True)
class Full:
    """All weights, without those of the first `num_frozen_blocks` decoder blocks and of what lies below them."""

    num_frozen_blocks: int
    learning_rate: float | None = None  # peak, for budgets that leave theirs open

    def apply(self, learner: Learner) -> list[nn.Parameter]:
        """Unfreeze the weights. Raises UserError where no block would be left."""
        if self.num_frozen_blocks == 0:
            return learner.unfreeze()
        num_blocks = learner.model.config.get_text_config().num_hidden_layers
        if not 0 < self.num_frozen_blocks < num_blocks:
            raise UserError(
                f"num_frozen_blocks={self.num_frozen_blocks} does not fit a model of "
                f"{counted(num_blocks, 'decoder block')}; give 0 to {num_blocks - 1}."
            )
        below = {id(p) for p in learner.model.get_input_embeddings().parameters()}  # tied output weights stay, too
        return learner.unfreeze(
            name
            for name, parameter in learner.model.named_parameters()
            if id(parameter) not in below and block_index(name, outside=num_blocks) >= self.num_frozen_blocks
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Unchanged:
    """Whatever is trainable already; for members of a combination that leave the choice to the first."""

    learning_rate: ClassVar[None] = None  # the first member's counts

    def apply(self, learner: Learner) -> list[nn.Parameter]:
        """Return what is trainable: nothing, before a method's first task, where it adds adapters task by task."""
        return learner.trainable()
