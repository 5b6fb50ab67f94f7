"""The ceiling of a comparison: the frozen model reads the gold document in front of each question.

An oracle: it is told which document answers a question (`Prompt.document_ids`), and only documents of past tasks are in
reach. What remains between its score and 1 is the base model's reading.
"""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from cmt_cli.core.learner import Learner, Predictor
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import Fit, State
from cmt_cli.core.stream import Episodes, Prompt, Task
from cmt_cli.methods.controls.passages import Passage, PassagePredictor, check_template


class FullContext(Method):
    """Keeps every document as text and puts the gold one into the prompt."""

    needs_documents = True

    def __init__(self, *, context_template: str) -> None:
        """`context_template` holds {document} and {prompt}."""
        self._template = check_template(context_template)
        self._texts: dict[str, str] = {}

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Leave the weights frozen."""

    @override
    def learn(self, learner: Learner, task: Task, fit: Fit) -> None:
        """Keep the task's documents; a document with a known id replaces the old text."""
        self._texts |= {document.id: document.text for document in task.documents}

    @override
    def predictor(self, learner: Learner, task_index: int) -> Predictor:
        return PassagePredictor(learner, self._template, self._gold)

    def _gold(self, prompt: Prompt) -> Sequence[Passage]:
        known = [name for name in prompt.document_ids if name in self._texts]
        return [Passage(name, self._texts[name], 1.0 / len(known)) for name in known]

    @override
    def state_dict(self) -> State:
        return {"texts": dict(self._texts)}

    @override
    def load_state_dict(self, state: State) -> None:
        self._texts = dict(state["texts"])

    @override
    def storage_bytes(self) -> int:
        return sum(len(text.encode()) for text in self._texts.values())
