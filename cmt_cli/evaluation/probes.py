"""General abilities: what is asked besides the stream's own tests, before the stream and after each task.

Each probe is a column of the score matrix without a task, so that it enters `probe_drop` and nothing that is about
tasks. Probes say which columns they have before a model is loaded, and by what each can be told from another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from typing_extensions import override

from cmt_cli.core.batch import Predictor
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.process_group import SINGLE_PROCESS, ProcessGroup
from cmt_cli.core.stream import Stream, TestSet
from cmt_cli.evaluation.evaluator import TestScore

# By column: `metric`, whose value is the column's score, `sha256` of all that is asked, and what a reader must know.
Facts = Mapping[str, Mapping[str, Any]]


class Probes(Protocol):
    """Tests of general abilities."""

    def prepare(self) -> Facts:
        """Read what is asked and describe it; raise UserError where it cannot be had.

        Called before the model loads,
        and again: what was read then is described.
        """

    def evaluate(
        self,
        predictor: Predictor,
        learner: Learner,
        *,
        row: int,
        num_rows: int,
        progress: Callable[[str, int, int], None],
        stop_requested: Callable[[], bool],
        processes: ProcessGroup = SINGLE_PROCESS,
    ) -> Sequence[TestScore]:
        """Ask a predictor, which answers with `learner`; return the scores of each column that this row has.

        Raises Interrupted where `stop_requested()` is true between two batches. Each rank gets all scores.
        """


class NoProbes(Probes):
    """Ask nothing besides the stream's tests."""

    def __init__(self) -> None:
        """Take nothing."""

    @override
    def prepare(self) -> Facts:
        return {}

    @override
    def evaluate(
        self,
        predictor: Predictor,
        learner: Learner,
        *,
        row: int,
        num_rows: int,
        progress: Callable[[str, int, int], None],
        stop_requested: Callable[[], bool],
        processes: ProcessGroup = SINGLE_PROCESS,
    ) -> Sequence[TestScore]:
        return []


def with_columns(stream: Stream, facts: Facts) -> Stream:
    """Return a stream with the probes' columns behind its own tests; raise UserError for a name that is taken."""
    taken = {test.name for test in stream.tests} & set(facts)
    if taken:
        name = min(taken)
        raise UserError(
            f"The probe '{name}' has the name of a test of the stream '{stream.name}', and columns need names of their "
            "own. Give it another one in a task file (task: NAME), or leave it out."
        )
    columns = [TestSet(name, (), str(fact["metric"]), None) for name, fact in facts.items()]
    return replace(stream, tests=(*stream.tests, *columns)) if columns else stream
