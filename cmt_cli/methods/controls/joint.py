"""Joint training: after each task, restart from the base weights and train on everything seen so far.

The usual upper bound for fine-tuning, because nothing is learned in sequence. It pays for that with a stored copy of
all texts and with a cost that grows with every task. Only the tasks' own examples are used (for a knowledge stream
the documents, as `uniform` reads them), not the questions of the meta-training split.
"""

from __future__ import annotations

from dataclasses import asdict

from torch import Tensor
from typing_extensions import override

from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Trainable
from cmt_cli.core.objectives import Fit, State
from cmt_cli.core.stream import Episodes, Example, Task
from cmt_cli.methods.sequential.finetune import FineTune


class Joint(FineTune):
    """Trains the chosen parameters on all tasks so far."""

    def __init__(self, *, trainable: Trainable) -> None:
        """`trainable` is trained anew after each task, on the examples of all tasks so far."""
        super().__init__(trainable=trainable)
        self._examples: list[Example] = []
        self._base: dict[str, Tensor] = {}

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Make the chosen parameters trainable and keep their start values on the CPU."""
        super().before_stream(learner, episodes, fit)
        self._base = {name: value.to("cpu", copy=True) for name, value in learner.state_dict().items()}

    @override
    def learn(self, learner: Learner, task: Task, fit: Fit) -> None:
        """Restart from the start values and train on every example so far."""
        self._examples = [*self._examples, *task.train]
        learner.load_state_dict(self._base)
        fit.on_examples(self._examples)

    @override
    def state_dict(self) -> State:
        """Return the examples; the base weights come with the model."""
        return {"examples": [asdict(example) for example in self._examples]}

    @override
    def load_state_dict(self, state: State) -> None:
        self._examples = [_example(record) for record in state["examples"]]

    @override
    def storage_bytes(self) -> int:
        return sum(len((example.prompt + example.target).encode()) for example in self._examples)


def _example(record: dict[str, str | list[str]]) -> Example:
    values = {key: value if isinstance(value, str) else tuple(value) for key, value in record.items()}
    return Example(**values)  # type: ignore[arg-type]
