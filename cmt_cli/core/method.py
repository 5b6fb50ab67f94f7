"""A continual method: how a learner changes (`learn`) and how it answers (`predictor`).

The base class is plain sequential fine-tuning of all weights. Hooks return values; none edits a loss or batch in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from torch import Tensor, nn

from cmt_cli.core.batch import Batch, Outputs, Predictor
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.objectives import Fit, ParamGroup, State
from cmt_cli.core.stream import Episodes, Task

ELSEWHERE = "Use the run through `cmt ask`, or `cmt_cli.load` in Python."  # of models that cannot be exported


class Trainable(Protocol):
    """A choice of the parameters that a gradient method trains; the method applies it once, before the stream."""

    @property
    def learning_rate(self) -> float | None:
        """Return the peak rate that suits these parameters, for budgets that leave theirs open; None: there is none."""

    def apply(self, learner: Learner) -> list[nn.Parameter]:
        """Make the parameters trainable, adding layers where the choice needs them, and return them."""


class Method:
    """Sequential fine-tuning; others override some of these hooks.

    The attributes say what a method needs, so that what cannot work is refused before the model is loaded. What only
    readers want to know (family, paper, what it stores) stands in the header of the method's yaml.
    """

    needs_task_id: bool = False
    needs_hidden_states: bool = False
    needs_documents: bool = False  # tasks are batches of documents
    needs_labels: bool = False  # examples are questions with answers
    needs_episodes: bool = False  # meta-trains before the stream
    trainable: Trainable | None = None  # what is trained, where that is a choice
    # The kinds of `trainable` that work while the model's weights are sharded (FSDP2). Counts for the class that states
    # it and not for its subclasses: one that adds something has to state it anew.
    trains_sharded: ClassVar[tuple[type[Trainable], ...]] = ()
    renames_parameters: bool = False  # a later task knows the same parameters by other names
    keeps_values_by_name: bool = False  # remembers earlier values under the parameters' names
    answers_with: ClassVar[str] = "something besides the model"  # where the predictor is not the learner, in words

    @property
    def learning_rate(self) -> float | None:
        """Return the peak rate of budgets that leave theirs open, None where the method knows none."""
        return None if self.trainable is None else self.trainable.learning_rate

    def attach(self, folder: Path) -> None:
        """Take the folder in which the method may keep files that outlive the process. Called before any other hook."""

    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Inject layers, keep a frozen copy, meta-train."""
        learner.unfreeze()

    def before_task(self, learner: Learner, task: Task) -> None:
        """Grow an adapter, prompt or expert; snapshot a teacher."""

    def learn(self, learner: Learner, task: Task, fit: Fit) -> None:
        """Absorb the task: by gradient unless overridden."""
        fit.on_examples(task.train)

    def after_task(self, learner: Learner, task: Task) -> None:
        """Estimate importance, store examples, merge, freeze."""

    def mix_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Return the batch with old or pseudo rows added, marked as replayed."""
        return batch

    def token_weights(self, learner: Learner, batch: Batch, outputs: Outputs) -> Tensor | None:
        """Return weights `[batch, seq]` that multiply the tokens' losses, or None for ones."""
        return None

    def penalties(self, learner: Learner, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Return named scalars that are added to the loss, summed and logged in one place."""
        return {}

    def adjust_gradients(self, learner: Learner) -> None:
        """Change the gradients once per optimizer step, before clipping."""

    def param_groups(self, learner: Learner) -> Sequence[ParamGroup]:
        """Return what the gradient loop trains."""
        return [ParamGroup(learner.trainable())]

    def lr_scale(self, step: int, num_steps: int) -> float:
        """Return a factor on the scheduled learning rate of one task."""
        return 1.0

    def predictor(self, learner: Learner, task_index: int) -> Predictor:
        """Return what answers after task `task_index` (-1: before the first): the learner, or a wrapper."""
        return learner

    def model_alone(self, learner: Learner, task_index: int) -> Learner:
        """Return the learner whose model alone answers questions without a task as the predictor does.

        Such a model can be exported. Raises UserError where the answers need more than a model.
        """
        if self.predictor(learner, task_index) is not learner:
            raise UserError(
                f"{type(self).__name__} answers with {self.answers_with}, which neither a model of transformers nor an "
                f"adapter of peft holds: the model alone would answer otherwise. {ELSEWHERE}"
            )
        return learner

    def state_dict(self) -> State:
        """Return exactly what the method carries across tasks; files in its folder are named, not copied."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned, after `before_stream` has rebuilt the layers; drop newer content."""

    def storage_bytes(self) -> int:
        """Return the bytes that the method keeps of past tasks, on disk and in memory."""
        return 0
