"""A run as Python sees it: its folder, record and predictions, and its adapted model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.result import RunResult
from cmt_cli.running.job import Job, load
from cmt_cli.running.run_files import read_predictions, read_result

if TYPE_CHECKING:
    from cmt_cli.core.stream import Answer
    from cmt_cli.running.answering import AdaptedModel


class Run:
    """A run in its folder. Its files are read when they are first needed; nothing is written."""

    def __init__(self, folder: Path, *, trust: Sequence[str] = ()) -> None:
        """Read the record of `folder`; raise UserError where there is none.

        `trust` names what the configuration may execute besides this package: other packages, and models whose
        repositories hold code.
        """
        self.folder = folder
        self._trust = tuple(trust)
        result = read_result(folder)
        if result is None:
            raise UserError(f"{folder} holds no run: it has no result.json.")
        self.result: RunResult = result

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: {self.result.status})"

    def _repr_html_(self) -> str:
        """Return the score matrix as a small table, as notebooks show it."""
        matrix = self.result.matrices.get(self.result.primary_metric)
        if matrix is None:
            return f"<code>{self.folder}</code>: {self.result.status}"
        head = "".join(f"<th>{index + 1}</th>" for index in range(len(matrix.tests)))
        rows = "".join(
            f"<tr><th>{f'after {index}' if index else 'before'}</th>"
            + "".join(f"<td>{'-' if score is None else f'{score:.2f}'}</td>" for score in row)
            + "</tr>"
            for index, row in enumerate(matrix.rows)
        )
        return f"<table><caption>{matrix.metric}</caption><tr><th></th>{head}</tr>{rows}</table>"

    @property
    def scores(self) -> list[list[float | None]]:
        """Return the score matrix of the primary metric: row i is after task i, a missing cell is None."""
        matrix = self.result.matrices.get(self.result.primary_metric)
        return [] if matrix is None else [list(row) for row in matrix.rows]

    @property
    def metrics(self) -> dict[str, float | None]:
        """Return the sequence metrics by name, such as `aa`; `result.metrics` says why one is None."""
        return {name: metric.value for name, metric in self.result.metrics.items()}

    def predictions(self, row: int = -1) -> list[dict[str, Any]]:
        """Return what was answered for one row of the score matrix, the last one unless told otherwise.

        Each has test, prompt, target, references, prediction and scores. Raises UserError for a row that is not there.
        """
        matrix = self.result.matrices.get(self.result.primary_metric)
        rows = range(0 if matrix is None else len(matrix.rows))
        if not -len(rows) <= row < len(rows):
            raise UserError(f"{self.folder} has no row {row} of predictions: there are {len(rows)}.")
        return read_predictions(self.folder, rows[row])

    @cached_property
    def job(self) -> Job:
        """Return the settings that the run was made with."""
        return load(self.folder, self._trust)

    @cached_property
    def model(self) -> AdaptedModel:
        """Return the learner and method as they were saved last, loaded once."""
        from cmt_cli.running.answering import AdaptedModel

        return AdaptedModel.of(self.job, self.folder)

    def ask(self, question: str = "", *, fields: Mapping[str, str] | None = None, task: str | None = None) -> Answer:
        """Return the adapted model's answer: its text, and the documents that it used with their weights.

        `fields` fill a prompt template that has other fields than one for the question; `task` names the task that the
        question is of, where prompts or answers depend on it. Raises UserError where either is missing.
        """
        return self.model.answer(question, fields=fields, task=task)
