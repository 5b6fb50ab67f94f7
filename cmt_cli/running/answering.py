"""The adapted model of a run, loaded as it was saved last, for questions of one's own."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmt_cli.config import targets
from cmt_cli.core.exceptions import CmtWarning, UserError
from cmt_cli.core.stream import Answer, Prompt, Stream
from cmt_cli.running.inputs import data_changes, load_learner, refuse_other_inputs, tell_differences
from cmt_cli.running.job import Job

if TYPE_CHECKING:
    from cmt_cli.core.batch import Predictor
    from cmt_cli.core.learner import Learner
    from cmt_cli.core.method import Method


@dataclass(frozen=True, slots=True)
class AdaptedModel:
    """A learner and a method after the last task of a run whose state was saved, and what answers with them."""

    learner: Learner
    method: Method
    predictor: Predictor
    stream: Stream
    decoding: Any
    template: str  # of a prompt, around {question}

    @classmethod
    def of(cls, job: Job, folder: Path) -> AdaptedModel:
        """Load what a run's folder holds; raise UserError where nothing is saved yet."""
        from cmt_cli.running.restore import restore
        from cmt_cli.running.store import RunStore

        store = RunStore(folder, job.identity, job.saved)
        if store.load_state() is None:
            raise UserError(f"{folder} holds no saved state yet, it was stopped too early: cmt resume {folder}")
        record = store.result()
        if record is not None:
            refuse_other_inputs(record, folder, models=job.model_files())
            tell_differences(record, folder)
        stream = job.stream()
        if record is not None and (changes := data_changes(record, stream)):
            text = (
                f"The data of the run in {folder} are others today ({changes}); the model has learned the former ones."
            )
            warnings.warn(text, CmtWarning, stacklevel=2)
        method: Method = job.build("method")
        learner = load_learner(job, lambda: job.build("model"))
        if record is not None:
            refuse_other_inputs(record, folder, models=learner.files)
        with store:  # loading rewinds the method's own files to the saved state, which a running run must not suffer
            last = restore(learner, method, episodes=stream.episodes, store=store)
            assert last is not None, "a state was there a moment ago, and the folder is locked"
        decoding = targets.instantiate(job.resolved["evaluator"]["decoding"], job.trusted)
        template = str(job.resolved["data"].get("prompt_template", "{question}"))
        return cls(learner, method, method.predictor(learner, last), stream, decoding, template)

    def answer(self, question: str) -> Answer:
        """Return the answer to one question, put into the stream's prompt template."""
        return self.generate([self.template.replace("{question}", question)])[0]

    def generate(self, prompts: Sequence[str]) -> list[Answer]:
        """Return what the model says after each prompt as it stands; raise TypeError for a single string."""
        if isinstance(prompts, str):
            raise TypeError("generate takes a list of prompts: generate([prompt]) for a single one.")
        numbered = [Prompt(f"prompt {index}", text) for index, text in enumerate(prompts)]
        return list(self.predictor.generate(numbered, self.decoding))
