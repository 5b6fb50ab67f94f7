"""The ceiling of a comparison: the frozen model reads the gold document in front of each question.

An oracle: it is told which document answers a question (`Prompt.document_ids`), and only documents of past tasks are in
reach. What remains between its score and 1 is the base model's reading.
"""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from cmt_cli.core.batch import Predictor
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Prompt
from cmt_cli.methods.controls.passages import Passage, PassagePredictor, StoredTexts, check_template


class FullContext(StoredTexts):
    """Keeps every document as text and puts the gold one into the prompt."""

    def __init__(self, *, context_template: str) -> None:
        """`context_template` holds {document} and {prompt}."""
        super().__init__()
        self._template = check_template(context_template)

    @override
    def predictor(self, learner: Learner, task_index: int) -> Predictor:
        return PassagePredictor(learner, self._template, self._gold)

    def _gold(self, prompt: Prompt) -> Sequence[Passage]:
        known = [name for name in prompt.document_ids if name in self._texts]
        return [Passage(name, self._texts[name], 1.0 / len(known)) for name in known]
