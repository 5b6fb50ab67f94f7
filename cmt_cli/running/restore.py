"""Bring a fresh learner and method to the last saved state of a run; say what a complete run's folder lacks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmt_cli.core.exceptions import CmtWarning, UserError, counted
from cmt_cli.running.ledger import num_learned
from cmt_cli.running.lock import RunLock
from cmt_cli.running.run_files import inside, num_predictions, predictions_path
from cmt_cli.running.scores import Cells, cells_of, read_cells, write_cells
from cmt_cli.running.store import RunStore

if TYPE_CHECKING:
    from cmt_cli.core.learner import Learner
    from cmt_cli.core.method import Method
    from cmt_cli.core.objectives import Budget, Objective, State
    from cmt_cli.core.result import RunResult
    from cmt_cli.core.stream import Episodes, Example


class FinishedFit:
    """A fit whose work is already in the saved state: its calls return at once."""

    def on_examples(self, examples: Sequence[Example], budget: Budget | None = None) -> None:
        """Do nothing."""

    def on_objective(self, objective: Objective, budget: Budget | None = None) -> None:
        """Do nothing."""


def joined_state(learner: Learner, method: Method) -> State:
    """Return the learner's and the method's state as one flat dict."""
    learned = {f"learner/{name}": value for name, value in learner.state_dict().items()}
    return {**learned, **{f"method/{name}": value for name, value in method.state_dict().items()}}


def restore(
    learner: Learner,
    method: Method,
    *,
    episodes: Episodes,
    store: RunStore,
    phase: str | None = None,
    files: Path | None = None,
) -> int | None:
    """Attach the method, rebuild its layers without training and load the newest whole state, of `phase` if given.

    `files` is used in the place of the method's folder in the store: loading takes newer content out of the files.

    Returns the index of the last task that the state holds, -1 for the state before the stream, None where nothing is
    saved: then the method's folder is empty and `before_stream` has not been called. The method is loaded before the
    learner, since it may have to grow the layers that the learner's values belong to.
    """
    saved = store.load_state(phase)
    method.attach(store.method_folder(empty=saved is None) if files is None else files)
    if saved is None:
        return None
    method.before_stream(learner, episodes, FinishedFit())
    method.load_state_dict(_part(saved.state, "method/"))
    learner.load_state_dict(_part(saved.state, "learner/"))
    return num_learned(saved.tag) - 1


def _part(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def mend(folder: Path, result: RunResult) -> None:
    """Write scores.csv again where it is gone or damaged; warn of what is gone for good, and what that prevents."""
    kept = cells_of(result)
    if kept and not _has_rows(folder, kept):
        with RunLock(folder):
            write_cells(folder / "scores.csv", kept)
        _warn(f"'{folder / 'scores.csv'}' was missing or damaged; it was written again from result.json.")
    if cut := [row for row in kept if not _has_predictions(folder, row)]:
        rows = ", ".join(map(str, sorted(cut)))
        _warn(
            f"The predictions of {counted(len(cut), 'row')} in '{folder / 'predictions'}' are gone or cut ({rows}): no "
            "metrics can be added to the run, and reports lack its answers. Put the files back; or move the folder "
            "away and repeat the command to make the run again."
        )
    states = inside(folder, "checkpoint", "state")
    if not any(
        (state / "state.json").is_file() and (state / "state.safetensors").is_file() for state in _below(states)
    ):
        _warn(
            f"The run's saved state in '{states}' is gone: `cmt ask` cannot answer from it. Put it back; or move the "
            "folder away and repeat the command to make the run again."
        )


def _has_rows(folder: Path, kept: Cells) -> bool:
    try:
        return set(kept) <= set(read_cells(inside(folder, "scores.csv")))
    except UserError:
        return False


def _has_predictions(folder: Path, row: int) -> bool:
    path, expected = predictions_path(folder, row), num_predictions(folder, row)
    if not path.is_file():
        return False
    content = path.read_bytes()
    return content.endswith(b"\n") and expected in (None, content.count(b"\n"))


def _below(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _warn(text: str) -> None:
    warnings.warn(text, CmtWarning, stacklevel=3)
