"""The run folder of a process group: rank 0 writes it, the other ranks wait and read what it has written.

A method's own files (a bank of memories) are written by every process, each to a place of its own, since all run the
same method: process 0 to the run folder, the others to a temporary copy of it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.objectives import State
from cmt_cli.core.process_group import ProcessGroup
from cmt_cli.running.identity import Identity
from cmt_cli.running.store import RunStore, ScoredTest

if TYPE_CHECKING:
    from cmt_cli.core.result import RunResult


class SharedStore(RunStore):
    """One process's view of a run folder. Every process makes the same calls; those that write are a barrier."""

    def __init__(self, folder: Path, identity: Identity, config: Mapping[str, Any], processes: ProcessGroup) -> None:
        """Name the folder, which must lie on a file system that all processes see."""
        super().__init__(folder, identity, config)
        self._processes = processes
        self._copy: Path | None = None  # of the method's files, in all processes but the first

    @override
    def __enter__(self) -> SharedStore:
        """Let process 0 take the lock; raise its error everywhere, and UserError where the folder is not shared."""
        self._processes.run_on_rank_zero(self._open)
        (is_missing,) = self._processes.any(not (self.folder / "config.yaml").is_file())
        if is_missing:
            self.__exit__(None, None, None)
            raise UserError(
                f"Process 0 has made the run folder '{self.folder.absolute()}', but another process does not see it. "
                "Let paths.runs lie on a file system that all nodes share."
            )
        return self

    @override
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back, or remove the copy of the method's files; waits for nobody."""
        if self._processes.rank == 0:
            super().__exit__(kind, error, trace)
        if self._copy is not None:
            shutil.rmtree(self._copy, ignore_errors=True)

    @override
    def method_folder(self, *, empty: bool) -> Path:
        shared = self._processes.run_on_rank_zero(partial(super().method_folder, empty=empty))
        if self._processes.rank > 0:
            self._copy = Path(tempfile.mkdtemp(prefix="cmt-process-"))
            shutil.copytree(shared, self._copy, dirs_exist_ok=True)
        self._processes.any()  # process 0 changes the files only when all have copied them
        return self._copy or shared

    @override
    def write_result(self, result: RunResult, *, error: str | None = None) -> None:
        """Write `result.json`; nobody waits for it, so that a process that fails alone can still say so."""
        if self._processes.rank == 0:
            super().write_result(result, error=error)

    @override
    def save_state(self, phase: str, state: State) -> None:
        self._processes.run_on_rank_zero(partial(super().save_state, phase, state))

    @override
    def save_fit(self, phase: str, state: State, notes: dict[str, Any]) -> None:
        self._processes.run_on_rank_zero(partial(super().save_fit, phase, state, notes))

    @override
    def add_row(self, row: int, scores: Sequence[ScoredTest], missing: Mapping[str, str]) -> None:
        self._processes.run_on_rank_zero(partial(super().add_row, row, scores, missing))

    @override
    def drop_rows_after(self, last: int) -> None:
        self._processes.run_on_rank_zero(partial(super().drop_rows_after, last))

    @override
    def add_step(self, task_index: int, step: int, scores: Sequence[ScoredTest]) -> None:
        self._processes.run_on_rank_zero(partial(super().add_step, task_index, step, scores))

    @override
    def event(self, kind: str, values: Mapping[str, Any]) -> None:
        if self._processes.rank == 0:
            super().event(kind, values)

    def _open(self) -> None:
        super().__enter__()
