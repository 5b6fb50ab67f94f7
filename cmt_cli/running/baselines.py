"""Baseline runs: what upper bounds and single-task scores come from, looked up by the hash of their own settings.

A baseline is an ordinary run of another method with the same model, data, trainer, evaluator and seed, in the same
folder of runs; `cmt run method=joint ...` with the same settings is that very run. The zero-shot baseline needs none:
it is row 0 of a run's own matrix.

    single_task    s[j]: its a[j, j], the score of a model trained on task j alone; where questions do not tell their
                   task, of method NewestTask, the same training without the guess whose model answers
    joint          m[j]: its a[j, j], the score of a model trained on tasks 1..j together
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from cmt_cli.core.exceptions import counted
from cmt_cli.core.result import ScoreMatrix
from cmt_cli.core.stream import Stream
from cmt_cli.evaluation.sequence_metrics import Baseline, baseline
from cmt_cli.running.inputs import Digests, data_changes, model_changes
from cmt_cli.running.run_files import read_result

SINGLE_TASK, JOINT = "single_task", "joint"  # keys of `baseline_methods`
NEWEST_TASK = "newest_task"  # the key in the place of SINGLE_TASK for a stream whose questions do not tell their task
MODES = ("auto", "none")


@dataclass(frozen=True, slots=True)
class BaselineRun:
    """A baseline run as it was found; `reason` says why it cannot be used. A run may be its own baseline."""

    method: str
    folder: Path
    reason: str | None = None
    is_self: bool = False
    matrices: Mapping[str, ScoreMatrix] = field(default_factory=dict)

    def scores(self, metric: str, own: Mapping[str, ScoreMatrix]) -> Baseline:
        """Return the a[j, j] by one metric; `own` are the matrices of the run that refers to this one."""
        if self.reason is not None:
            return Baseline(reason=self.reason)
        return baseline((own if self.is_self else self.matrices).get(metric), self.folder.name)


def methods_of(stream: Stream, keys: Iterable[str]) -> dict[str, str]:
    """Return the key of `baseline_methods` that each baseline of a stream is made by; `keys` are those there are."""
    found = {method: method for method in keys if method != NEWEST_TASK}
    if SINGLE_TASK in found and NEWEST_TASK in keys and not stream.gives_task:
        found[SINGLE_TASK] = NEWEST_TASK
    return found


def find_baseline(
    method: str,
    folder: Path,
    stream: Stream,
    *,
    own: Path,
    command: str,
    models: Callable[[], Digests | None] = lambda: None,
) -> BaselineRun:
    """Look for a baseline run in `folder`; `own` is the folder of the run that needs it, `command` makes it.

    `models` tells the files of the models that it would be made with today.
    """
    if folder == own:
        return BaselineRun(method, folder, is_self=True)
    result = read_result(folder)
    make = f"`{command}` makes it"
    if result is None:
        return BaselineRun(method, folder, f"needs the baseline run {folder.name}; {make}")
    if result.status != "complete":
        return BaselineRun(method, folder, f"the baseline run {folder.name} is {result.status}; {make}")
    if data_changes(result, stream):
        return BaselineRun(method, folder, f"the baseline run {folder.name} is of other data; remove it, then {make}")
    if (files := models()) is not None and model_changes(result, files):
        return BaselineRun(
            method, folder, f"the baseline run {folder.name} is of another model; remove it, then {make}"
        )
    return BaselineRun(method, folder, matrices=result.matrices)


def work(method: str, stream: Stream) -> str:
    """Return in words what a baseline run costs: trainings, and examples per pass over all of them."""
    sizes = [len(task.train) for task in stream.tasks]
    seen: Sequence[int] = list(accumulate(sizes)) if method == JOINT else sizes
    times = f"{sum(seen) / max(sum(sizes), 1):.3g}"
    part = "as many as" if times == "1" else f"{times} times those of"
    return (
        f"{counted(len(seen), 'training')} from the base model, {sum(seen):,} examples per epoch in all ({part} "
        "one pass over the stream)"
    )
