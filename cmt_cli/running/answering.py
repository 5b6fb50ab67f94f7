"""The adapted model of a run, loaded as it was saved, for questions of one's own."""

from __future__ import annotations

import errno
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmt_cli.config import targets
from cmt_cli.core.exceptions import CmtWarning, UserError, counted, nearest
from cmt_cli.core.stream import Answer, Prompt, Stream
from cmt_cli.data.labelled.templates import fields_in, filled
from cmt_cli.running.inputs import data_changes, load_learner, refuse_other_inputs, tell_differences, tell_other_numbers
from cmt_cli.running.job import Job
from cmt_cli.running.ledger import learn_phase, num_learned
from cmt_cli.running.run_files import inside

_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)

if TYPE_CHECKING:
    from cmt_cli.core.batch import Predictor
    from cmt_cli.core.learner import Learner
    from cmt_cli.core.method import Method
    from cmt_cli.running.store import RunStore


@dataclass(frozen=True, slots=True)
class Template:
    """The form of a stream's prompts, with fields in braces: one, or one for each task by its name."""

    text: str | Mapping[str, str]

    @classmethod
    def of(cls, job: Job) -> Template:
        """Return the form that a run's settings name; a stream without one has the bare question."""
        data = job.resolved["data"]
        return cls(data.get("prompt_template") or (data.get("format") or {}).get("prompt_template") or "{question}")

    def prompt(self, question: str, fields: Mapping[str, str], task: str | None = None) -> str:
        """Return the prompt with `fields` in it, and the question in the one that they leave.

        Raises UserError where fields are missing or unknown, and where tasks have forms of their own and none is named.
        """
        form = self.text
        if not isinstance(form, str):
            form = form[_one_of(task, form, "each task has its own form of prompt")]
        names = list(dict.fromkeys(fields_in(form)))
        left = [name for name in names if name not in fields]
        if unknown := [name for name in fields if name not in names]:
            raise _misfit(form, names, f"have no field {', '.join(unknown)}")
        if len(left) > 1 or (left and not question):
            raise _misfit(form, names, f"need {', '.join(left)}")
        if question and not left:
            raise _misfit(form, names, "leave no field for the question")
        return filled(form, {**fields, **dict.fromkeys(left, question)})


def _misfit(form: str, names: Sequence[str], problem: str) -> UserError:
    options = " ".join(f"--field {name}=TEXT" for name in names)
    return UserError(
        f"The prompts of this run {problem}. Their form is {form!r}: give {options}, or all but "
        "one and that one as the question."
    )


@dataclass(frozen=True, slots=True)
class AdaptedModel:
    """A learner and a method after a task of a run whose state was saved, and what answers with them."""

    learner: Learner
    method: Method
    predictor: Predictor
    stream: Stream
    decoding: Any
    template: Template
    task_index: int  # of the last task that was learned, -1 before the first
    copy: tempfile.TemporaryDirectory[str] | None  # of the method's own files, which answers may read; goes with this

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
            tell_other_numbers(record, learner)
        # Loading rewinds the method's own files to the saved state, which a running run must not suffer.
        with _held(store, phase) as copy:
            files = None if copy is None else Path(copy.name)
            last = restore(learner, method, episodes=stream.episodes, store=store, phase=phase, files=files)
            assert last is not None, "a state was there a moment ago, and the folder is locked"
        decoding = targets.instantiate(job.resolved["evaluator"]["decoding"], job.trusted)
        return cls(learner, method, method.predictor(learner, last), stream, decoding, Template.of(job), last, copy)

    def answer(self, question: str, *, fields: Mapping[str, str] | None = None, task: str | None = None) -> Answer:
        """Return the answer to one question, put into the stream's prompt template with `fields`; see `Template`."""
        prompt = Prompt("prompt 0", self.template.prompt(question, fields or {}, task), task=self._task_index(task))
        return next(iter(self.predictor.generate([prompt], self.decoding)))

    def _task_index(self, task: str | None) -> int | None:
        """Return the index of a task; raise UserError where it is unknown, or missing and the method needs it."""
        names = [task.name for task in self.stream.tasks]
        if task is None and not self.method.needs_task_id:
            return None
        return names.index(_one_of(task, names, f"{type(self.method).__name__} answers by task"))

    def generate(self, prompts: Sequence[str]) -> list[Answer]:
        """Return what the model says after each prompt as it stands; raise TypeError for a single string."""
        if isinstance(prompts, str):
            raise TypeError("generate takes a list of prompts: generate([prompt]) for a single one.")
        numbered = [Prompt(f"prompt {index}", text) for index, text in enumerate(prompts)]
        return list(self.predictor.generate(numbered, self.decoding))


def _one_of(task: str | None, tasks: Iterable[str], reason: str) -> str:
    names = list(tasks)
    if task is None:
        raise UserError(f"Name the question's task with `--task NAME`, as {reason}: {', '.join(names)}.")
    if task not in names:
        raise UserError(f"--task {task}: there are {', '.join(names)}.{nearest(task, names)}")
    return task


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
def _held(store: RunStore, phase: str | None) -> Iterator[tempfile.TemporaryDirectory[str] | None]:
    """Hold a run's folder, where it may be written; give a copy of the method's own files where they must stay.

    They must in a folder that can only be read, and where an older state is loaded, which would lose what came later.
    """
    with ExitStack() as stack:
        is_held = True
        try:
            stack.enter_context(store)
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
            is_held = False
        copy = None
        if phase is not None or not is_held:
            copy = tempfile.TemporaryDirectory(prefix="cmt-memory-")
            kept = inside(store.folder, "memory")
            shutil.copytree(kept, copy.name, dirs_exist_ok=True, copy_function=shutil.copyfile)
        yield copy
