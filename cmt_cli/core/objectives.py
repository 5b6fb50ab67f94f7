"""What the gradient loop minimizes, and for how long: the contract between methods and the trainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from cmt_cli.core.stream import Example

TOKENS = "num_tokens"  # a term of `Objective.backward` that is counted and not averaged
State = dict[str, Any]  # flat: str keys; values are tensors or plain JSON values


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How long one fit lasts and how it steps. Exactly one of `num_epochs` and `num_steps` is given.

    `learning_rate` is the peak; None takes that of what the method trains, see `Method.learning_rate`.
    `batch_size` is the effective batch in items; `warmup_fraction` is a share of all steps; `schedule` is "constant",
    "cosine" (to 0) or "linear" (to 0); `betas` are AdamW's.
    """

    num_epochs: float | None
    num_steps: int | None
    batch_size: int
    learning_rate: float | None
    betas: tuple[float, float]
    weight_decay: float
    warmup_fraction: float
    schedule: str
    max_grad_norm: float
    shuffle: bool


@dataclass(frozen=True, slots=True)
class ParamGroup:
    """Parameters that share a learning rate, `lr_multiplier` times the budget's."""

    parameters: Sequence[nn.Parameter]
    lr_multiplier: float = 1.0


class Objective(Protocol):
    """A loss over numbered items, able to accumulate the gradient of one effective batch in smaller pieces."""

    is_data_parallel: bool  # each rank adds the gradient of its share of a batch, rather than of the whole batch
    has_collectives: bool  # `backward` calls collectives, so that no rank can repeat it alone

    @property
    def num_items(self) -> int:
        """Return the number of items an epoch has."""

    def lengths(self) -> Sequence[int] | None:
        """Return each item's length in tokens for batches of like lengths, or None to leave the order alone."""

    def param_groups(self) -> Sequence[ParamGroup]:
        """Return what is trained."""

    def backward(self, items: Sequence[int], *, micro_batch_size: int, step: int, num_steps: int) -> dict[str, Tensor]:
        """Add the gradient of the batch's loss; return its detached terms by name, the sum under "loss".

        A term named `TOKENS` is how many tokens were trained on; without it the items' lengths count.

        The result does not depend on `micro_batch_size` beyond floating-point rounding. Where the objective is
        data-parallel, gradient and terms are shares that add up over the ranks to those of the batch;
        `TOKENS` counts the whole batch all the same. Autocast is not on: `Learner.forward` enters it, and other
        modules are run inside `Learner.mixed_precision.autocast`, where they are to be. No backward pass is.
        """

    def after_step(self, step: int, num_steps: int) -> None:
        """React to an optimizer step, e.g. reset unused codes or push a queue."""
        return

    def state_dict(self) -> State:
        """Return what changes from step to step besides the parameters and the global generators."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned."""
        return


class Fit(Protocol):
    """The trainer's loop, bound to the outermost method. A hook of a method calls it at most once."""

    def on_examples(self, examples: Sequence[Example], budget: Budget | None = None) -> None:
        """Train with the outermost method's hooks, for the trainer's budget of a task unless one is given."""

    def on_objective(self, objective: Objective, budget: Budget | None = None) -> None:
        """Minimize a method's own objective; the trainer's meta-training budget unless one is given."""
