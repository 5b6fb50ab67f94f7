"""One job of a sweep, as a launcher's worker runs it: the run, and the job's record in the sweep's folder.

A job that fails returns like any other, so that no launcher gives up the rest; its record has the error's first
line, and the traceback lies beside it. Only what has to end the process travels on as an exception.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from cmt_cli.config import references
from cmt_cli.core.atomic import write_text
from cmt_cli.core.exceptions import NonFiniteLoss, ProcessLost, UserError
from cmt_cli.running import job_run
from cmt_cli.running.job import Job
from cmt_cli.running.lock import holds
from cmt_cli.running.loggers import Logger, NullLogger
from cmt_cli.running.run_files import read_result
from cmt_cli.running.signals import StoppedBySignal, hand_on
from cmt_cli.sweeps.folder import RunningJob, SweepFolder, Trial
from cmt_cli.terminal.text import hide_library_bars, print_own_warnings, say


class JobNotes(NullLogger):
    """Keeps the run's folder in the job's record from the run's start."""

    def __init__(self, job: RunningJob) -> None:
        """Write to `job`."""
        self._job = job

    @override
    def start(self, run_name: str, *, group: str, tags: Sequence[str], config: Mapping[str, Any], folder: Path) -> None:
        self._job.note_folder(folder)


def run_job(
    make: Callable[[], Job],
    overrides: Sequence[str],
    sweep: SweepFolder,
    *,
    cwd: Path,
    make_pruner: Callable[[], Any],
) -> str:
    """Run a job in the folder that the sweep was started in; return the status that its record ends with.

    `make` builds the checked job, `make_pruner` the pruner of a study's trial. Raises Interrupted where a signal
    stopped the process that hands out the jobs.
    """
    if sweep.is_stopping:
        return "queued"
    _set_up_output()
    os.chdir(cwd)
    job = RunningJob(sweep, overrides)
    job.begin()
    try:
        _run(make, job, make_pruner)
    except StoppedBySignal as error:
        if error.signal_number == 0:  # not a signal: the trial's report ended the run
            job.end("pruned", error=error.__cause__)
            return job.status
        job.end("interrupted", error=error)
        if holds(sweep.path):
            raise
        _hand_on(job, error)
    except Exception as error:
        # Whatever it is, the other jobs go on; nothing is hidden, since the record and the log below say what it was.
        job.end("failed", error=error)
        shown = f"Error: {error}\n" if isinstance(error, UserError) else traceback.format_exc()
        write_text(sweep.record_path(overrides).with_suffix(".log"), references.hidden(shown, overrides))
    except BaseException as error:
        job.end("interrupted", error=error)
        raise
    say(f"{job.status}: {' '.join(overrides)}", sys.stderr)
    return job.status


def accompany(make: Callable[[], Job], cwd: Path) -> None:
    """Make a job together with process 0, which records how it ends; `make` and `cwd` are those of `run_job`.

    Raises Interrupted where a signal stopped the run.
    """
    _set_up_output()
    os.chdir(cwd)
    with contextlib.suppress(UserError, NonFiniteLoss, ProcessLost):
        job_run.run(make())


def _set_up_output() -> None:
    """Do what the command line does at its start, which a launcher's worker has not come through."""
    print_own_warnings()
    hide_library_bars()


def _run(make: Callable[[], Job], job: RunningJob, make_pruner: Callable[[], Any]) -> None:
    loggers: list[Logger] = [JobNotes(job)]
    if job.trial is not None:
        from cmt_cli.sweeps.trials import TrialReport

        loggers.append(TrialReport(job.trial, make_pruner))
    made = make()
    with references.hiding(made.config):
        folder = job_run.run(made, loggers=loggers)
    job.note_folder(folder)
    job.end("complete", value=_value(folder, job.trial))


def _value(folder: Path, trial: Trial | None) -> float | None:
    """Return a trial's objective; a plain job has none."""
    if trial is None:
        return None
    from cmt_cli.sweeps.trials import objective

    result = read_result(folder)
    assert result is not None, "a run that has ended has a record"
    return objective(result, trial.metric)


def _hand_on(job: RunningJob, error: StoppedBySignal) -> None:
    """Let the launcher requeue the job; where it does, the job waits again, else its record says why not."""
    try:
        hand_on(error.signal_number)
    except SystemExit:
        job.end("queued")
        raise
    except (OSError, RuntimeError, subprocess.SubprocessError) as refusal:
        job.end("interrupted", error=refusal)
