"""Problems of a user's files: where they are, what they say, and the error that tells of all of them at once."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from cmt_cli.core.exceptions import UserError, counted, ended

SHOWN_PROBLEMS = 3
NOT_UTF8 = "is not UTF-8"


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of a user's file. `line` counts from 1; it is None where the fault has no line.

    `ends_file` says that reading stopped there: nobody knows how many rows lie behind it. `row` names the faulty row of
    the file where its line does not, as in json, in which a line can hold many rows and a row many lines. `is_setting`
    says that a setting may be at fault rather than the file.
    """

    file: Path
    line: int | None
    message: str
    ends_file: bool = False
    row: str = ""
    is_setting: bool = False

    @property
    def is_of_row(self) -> bool:
        """Return whether leaving out one row mends the file."""
        return self.line is not None and not self.ends_file

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        # A value of the file that is quoted may hold line breaks; an error is one paragraph.
        return f"{place}: {self.message}".replace("\r", "\\r").replace("\n", "\\n")


class ProblemError(UserError):
    """All problems of some files; the message shows the first few and names the command that lists the rest."""

    def __init__(
        self, problems: Sequence[Problem], *, name: str, path: Path, overrides: Sequence[str] | None = None
    ) -> None:
        """Show the problems; `overrides` of the data are repeated in the command, None knows only the path."""
        self.problems = tuple(problems)
        self._name, self._path, self._overrides = name, path, overrides
        shown = "; ".join(str(problem).rstrip(".") for problem in self.problems[:SHOWN_PROBLEMS])
        count = counted(len(self.problems), "problem")
        rest = f"; and {len(self.problems) - SHOWN_PROBLEMS} more" if len(self.problems) > SHOWN_PROBLEMS else ""
        super().__init__(
            f"{ended(f'The files of data={name} have {count}: {shown}{rest}')} "
            f"{self._advice()}`{self._command()}` lists every problem."
        )

    def of_command(self, name: str, overrides: Sequence[str]) -> ProblemError:
        """Return the error of a run whose data is `name` and that was given these overrides."""
        data = [override for override in overrides if override.lstrip("+~").startswith("data.")]
        return ProblemError(self.problems, name=name, path=self._path, overrides=data or None)

    def _advice(self) -> str:
        if all(problem.is_setting for problem in self.problems):
            return ""
        if any(NOT_UTF8 in problem.message for problem in self.problems):
            return (
                "`iconv -f latin1 -t utf-8 FILE > NEW_FILE` converts a file from Latin-1. Mend the files and repeat; "
            )
        return "Mend the files and repeat; "

    def _command(self) -> str:
        settings = ["--path", str(self._path)] if self._overrides is None else self._overrides
        return shlex.join(["cmt", "data", "check", self._name, *settings])

    def __reduce__(self) -> tuple[Callable[[], ProblemError], tuple[()]]:
        """Pickle all arguments: launchers of parallel sweeps send the exception back from their workers."""
        return partial(ProblemError, self.problems, name=self._name, path=self._path, overrides=self._overrides), ()


class Record(Protocol):
    """One item of a file: its values by name, and the place to report a problem at."""

    @property
    def values(self) -> Mapping[str, Any]:
        """Return the values by column or key."""

    def problem(self, message: str) -> Problem:
        """Return a problem at this record's place."""


@dataclass(frozen=True, slots=True)
class Row:
    """A csv row or a line of jsonl."""

    values: Mapping[str, Any]
    file: Path
    line: int

    def problem(self, message: str) -> Problem:
        """Return a problem at the row's first line."""
        return Problem(self.file, self.line, message)


def num_rows(problems: Sequence[Problem]) -> int:
    """Return how many different rows problems are of."""
    return len({(problem.file, problem.row or problem.line) for problem in problems if problem.is_of_row})


def name_row(problems: list[Problem], start: int, row: str) -> None:
    """Say of the problems from `start` on which row of their file they are in."""
    problems[start:] = [replace(problem, row=row) for problem in problems[start:]]


def end_file(problems: list[Problem], start: int) -> None:
    """Say of the problems from `start` on that reading stopped at them."""
    problems[start:] = [replace(problem, ends_file=True) for problem in problems[start:]]
