"""Bring a fresh learner and method to the last saved state of a run, to continue it or to query it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmt_cli.running.ledger import num_learned
from cmt_cli.running.store import RunStore

if TYPE_CHECKING:
    from cmt_cli.core.learner import Learner
    from cmt_cli.core.method import Method
    from cmt_cli.core.objectives import Budget, Objective, State
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
