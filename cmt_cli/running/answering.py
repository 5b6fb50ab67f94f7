"""The adapted model of a run, loaded as it was saved, for questions of one's own."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmt_cli.config import targets
from cmt_cli.core.exceptions import CmtWarning, UserError, counted
from cmt_cli.core.stream import Answer, Prompt, Stream
from cmt_cli.running.inputs import data_changes, load_learner, refuse_other_inputs, tell_differences
from cmt_cli.running.job import Job
from cmt_cli.running.ledger import learn_phase, num_learned

if TYPE_CHECKING:
    from cmt_cli.core.batch import Predictor
    from cmt_cli.core.learner import Learner
    from cmt_cli.core.method import Method
    from cmt_cli.running.store import RunStore


@dataclass(frozen=True, slots=True)
class AdaptedModel:
    """A learner and a method after a task of a run whose state was saved, and what answers with them."""

    learner: Learner
    method: Method
    predictor: Predictor
    stream: Stream
    decoding: Any
    template: str  # of a prompt, around {question}
    task_index: int  # of the task, -1 before the first

    @classmethod
    def of(cls, job: Job, folder: Path, *, task: int | None = None) -> AdaptedModel:
        """Load what a run's folder holds: the newest state, or that after task number `task` (0: before the first).

        Raises UserError where nothing is saved yet, or not that.
        """
        from cmt_cli.running.restore import restore
        from cmt_cli.running.store import RunStore

        store = RunStore(folder, job.identity, job.saved)
        if store.load_state() is None:
            raise UserError(f"{folder} holds no saved state yet, it was stopped too early: cmt resume {folder}")
        phase = _older_phase(store, task)
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
        # Loading rewinds the method's own files to the saved state, which a running run must not suffer.
        with store, _files_to_rewind(store, phase) as files:
            last = restore(learner, method, episodes=stream.episodes, store=store, phase=phase, files=files)
            assert last is not None, "a state was there a moment ago, and the folder is locked"
        decoding = targets.instantiate(job.resolved["evaluator"]["decoding"], job.trusted)
        template = str(job.resolved["data"].get("prompt_template", "{question}"))
        return cls(learner, method, method.predictor(learner, last), stream, decoding, template, last)

    def answer(self, question: str) -> Answer:
        """Return the answer to one question, put into the stream's prompt template."""
        return self.generate([self.template.replace("{question}", question)])[0]

    def generate(self, prompts: Sequence[str]) -> list[Answer]:
        """Return what the model says after each prompt as it stands; raise TypeError for a single string."""
        if isinstance(prompts, str):
            raise TypeError("generate takes a list of prompts: generate([prompt]) for a single one.")
        numbered = [Prompt(f"prompt {index}", text) for index, text in enumerate(prompts)]
        return list(self.predictor.generate(numbered, self.decoding))


def _older_phase(store: RunStore, task: int | None) -> str | None:
    """Return the phase that ends with task number `task`, None for the newest; raise UserError where it is not kept."""
    if task is None:
        return None
    phase, kept = learn_phase(task - 1), store.state.tags()
    if task < 0 or phase not in kept:
        numbers = sorted({num_learned(tag) for tag in kept})
        raise UserError(
            f"The state after task {task} is not kept in {store.folder}: a run keeps its last states, here those after "
            f"{counted(numbers[0], 'task')}" + "".join(f" and {number}" for number in numbers[1:]) + "."
        )
    return None if phase == kept[-1] else phase


@contextmanager
def _files_to_rewind(store: RunStore, phase: str | None) -> Iterator[Path | None]:
    """Give a copy of the method's own files where an older state is loaded, which would lose what came later."""
    if phase is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(shutil.copytree(store.method_folder(empty=False), Path(temporary) / "memory"))
