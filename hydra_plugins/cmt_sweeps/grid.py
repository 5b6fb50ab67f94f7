"""The sweeper that runs the jobs of a sweep's folder which nobody has run yet, through any of Hydra's launchers.

A new sweep and the repetition of what an old one lacks are the same thing to it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from cmt_cli.sweeps.status import read_status
from hydra_plugins.cmt_sweeps._base import CellSweeper

Job = tuple[str, ...]
_ENDING_SECONDS = 10.0


class GridSweeper(CellSweeper):
    """Hand the open jobs of the sweep's folder to the launcher."""

    def __init__(self, *, params: DictConfig | None, max_batch_size: int | None, max_starts: int) -> None:
        """Keep the settings; `params` was read when the sweep's folder was made.

        `max_batch_size` jobs are handed out at a time (None: all). A job whose process was killed together with the
        launcher's other workers is begun anew until it has been begun `max_starts` times.
        """
        super().__init__()
        self._max_batch_size = max_batch_size
        self._max_starts = max_starts

    def sweep(self, arguments: list[str]) -> Any:
        """Run what is open, whatever the arguments say: the folder's `sweep.json` has the jobs."""
        jobs = [job.overrides for job in read_status(self.folder.path, is_launching=False).open]
        allowed = {job: self._num_starts(job) + self._max_starts for job in jobs}
        num_idle = 0  # launches in a row that began nothing
        while jobs and num_idle < self._max_starts:
            batch, before = jobs[: self._max_batch_size], sum(map(self._num_starts, jobs))
            for job in batch:
                self.folder.hand_out(job)
            again = [] if self.launch(batch) else self._cut_off(batch, allowed)
            num_idle = num_idle + 1 if sum(map(self._num_starts, jobs)) == before else 0
            jobs = jobs[len(batch) :] + again
        return None

    def _cut_off(self, batch: Sequence[Job], max_starts: Mapping[Job, int]) -> list[Job]:
        """Return the jobs that a launcher that broke left undone; one that failed by itself is none."""
        end = time.monotonic() + _ENDING_SECONDS
        while "running" in (found := read_status(self.folder.path, is_launching=False)).counts:
            time.sleep(0.1)  # the pool's other workers are being ended
            if time.monotonic() > end:
                break
        states = {job.overrides: job.state for job in found.open}
        undone = [job for job in batch if states.get(job) in ("missing", "stale")]
        allowed = [job for job in undone if self._num_starts(job) < max_starts[job]]
        return sorted(allowed, key=self._num_starts)  # what the next breakdown would cut off again comes last

    def _num_starts(self, job: Job) -> int:
        record = self.folder.record(job)
        return 0 if record is None else record.num_starts
