"""A run as a trial of an Optuna study: its score after every task is reported, and a bad one is stopped early.

Only the validation split is ever reported. Deviation from hydra-optuna-sweeper 1.3, which cannot prune, pins Optuna
below 3 and has no storage for network file systems: studies are opened here, in the sweeper and in every job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from typing_extensions import override

from cmt_cli.core.exceptions import Interrupted, UserError
from cmt_cli.core.result import RunResult
from cmt_cli.running.loggers import NullLogger
from cmt_cli.sweeps.folder import Trial

PRUNABLE = ("aa", "aia")  # metrics of which the mean after a task is a fair foretaste


class Pruned(Interrupted):
    """The trial was stopped because others did better; its state is saved."""


def open_storage(place: str) -> BaseStorage:
    """Open `scheme://...` by SQL, anything else as a journal file, which is safe on network file systems."""
    if "://" in place:
        return RDBStorage(place)
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(place))


def objective(result: RunResult, metric: str) -> float:
    """Return what a trial is judged by; raise UserError for a test score or a metric without a value."""
    if result.split != "validation":
        raise UserError("The run is on the test split, whose scores must not choose settings.")
    if metric not in result.metrics:
        raise UserError(f"hydra.sweeper.metric={metric}: the run has {', '.join(result.metrics)}.")
    found = result.metrics[metric]
    if found.value is None:
        raise UserError(f"hydra.sweeper.metric={metric} has no value: {found.reason}.")
    return found.value


class TrialReport(NullLogger):
    """Reports the mean over the learned tasks after each of them, and raises Pruned where the pruner says so."""

    def __init__(self, trial: Trial, make_pruner: Callable[[], Any]) -> None:
        """Open the study."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._prunes = trial.metric in PRUNABLE
        study = optuna.load_study(
            study_name=trial.study,
            storage=open_storage(trial.storage),
            pruner=make_pruner() or optuna.pruners.NopPruner(),
        )
        self._trial = optuna.trial.Trial(study, trial.id)

    @override
    def row(self, index: int, scores: Mapping[str, float]) -> None:
        """Report a row after a task; the first mean is that of the stream's primary metric."""
        mean = next((value for name, value in scores.items() if name.startswith("aa/")), None)
        if index == 0 or mean is None or not self._prunes:
            return
        self._trial.report(mean, index)
        if self._trial.should_prune():
            raise Pruned(f"pruned after task {index}: {mean:.3f} on what was learned is below the other trials")
