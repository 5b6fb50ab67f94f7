"""The sweeper that lets Optuna choose the jobs: sampled keys, pruning, studies that are shared and go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig
from optuna.trial import FrozenTrial, TrialState

from cmt_cli.config import compose
from cmt_cli.core.atomic import write_json
from cmt_cli.core.exceptions import UserError
from cmt_cli.sweeps.folder import Trial, is_for_hydra, job_key
from cmt_cli.sweeps.status import read_status
from cmt_cli.sweeps.trials import PRUNABLE, open_storage
from hydra_plugins.cmt_sweeps._base import CellSweeper

_ENDED = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
Sample = Callable[[optuna.trial.BaseTrial], Any]


class OptunaSweeper(CellSweeper):
    """Ask a study for trials, run them as jobs, tell it how they ended."""

    def __init__(
        self,
        *,
        n_trials: int,
        n_jobs: int,
        metric: str,
        direction: str,
        study_name: str | None,
        storage: str | None,
        params: DictConfig | None,
        sampler: Any,
        pruner: Any,
    ) -> None:
        """Keep the settings, see conf/hydra/sweeper/optuna.yaml."""
        super().__init__()
        if pruner is not None and metric not in PRUNABLE:
            raise UserError(
                f"hydra.sweeper.metric={metric}: only {' and '.join(PRUNABLE)} can be pruned by; "
                "add hydra.sweeper.pruner=null."
            )
        self._n_trials, self._n_jobs = n_trials, n_jobs
        self._metric, self._direction = metric, direction
        self._study_name, self._storage = study_name, storage
        self._params: dict[str, str] = {str(key): str(value) for key, value in (params or {}).items()}
        self._sampler, self._pruner = sampler, pruner

    def sweep(self, arguments: list[str]) -> Any:
        """Continue trials that were cut off, then ask for further ones until the study has `n_trials`."""
        study = self._open_study()
        given = [*(f"{k}={v}" for k, v in self._params.items()), *self.folder.plan().overrides]
        own = [line for line in given if not is_for_hydra(line)]
        space = {o.get_key_element(): o for o in OverridesParser.create().parse_overrides(own)}
        if study.get_trials(deepcopy=False):
            study.sampler.reseed_rng()  # a seeded sampler would propose the study's first trials again
        self._tell(study)
        self._run(study, self._cut_off(study))
        while (missing := self._n_trials - len(study.get_trials(deepcopy=False))) > 0:
            trials = [study.ask() for _ in range(min(self._n_jobs, missing))]
            self._run(study, [(trial.number, self._job(trial, space)) for trial in trials])
        return None

    def _open_study(self) -> optuna.Study:
        assert self.config is not None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study_name = self._study_name or self.folder.path.name
        default = Path(self.config.paths.runs).absolute() / ".studies" / f"{self._study_name}.journal"
        self._storage = self._storage or str(default)
        return optuna.create_study(
            study_name=self._study_name,
            storage=open_storage(self._storage),
            sampler=self._sampler,
            pruner=self._pruner,
            direction=self._direction,
            load_if_exists=True,
        )

    def _job(self, trial: optuna.Trial, space: dict[str, Override]) -> tuple[str, ...]:
        """Return a trial's overrides, and keep them with it for whoever has to continue it."""
        job = tuple(f"{key}={sampled(trial, override)}" for key, override in space.items())
        trial.set_user_attr("sweep", str(self.folder.path))  # first: a trial with a job and no sweep is nobody's
        trial.set_user_attr("job", list(job))
        return job

    def _run(self, study: optuna.Study, jobs: Sequence[tuple[int, tuple[str, ...]]]) -> None:
        """Run trials as jobs, in batches of `n_jobs`."""
        assert self._study_name is not None and self._storage is not None
        for start in range(0, len(jobs), self._n_jobs):
            batch = jobs[start : start + self._n_jobs]
            self.folder.add_jobs([job for _, job in batch])
            for number, job in batch:
                trial_id = study.get_trials(deepcopy=False)[number]._trial_id
                optuna.trial.Trial(study, trial_id).set_user_attr("sweep", str(self.folder.path))
                trial = Trial(self._storage, self._study_name, number, trial_id, self._metric)
                self.folder.hand_out(job, trial=trial)
            self.launch([job for _, job in batch])
            self._tell(study)

    def _tell(self, study: optuna.Study) -> None:
        """Tell the study how the trials of this sweep's folder ended; those that were cut off stay open."""
        for trial in _running(study):
            if trial.user_attrs.get("sweep") != str(self.folder.path):
                continue
            record = self.folder.record(trial.user_attrs["job"])  # one for all trials that sampled the same job
            if record is not None and record.status in _ENDED:
                values = record.value if record.status == "complete" else None
                study.tell(trial.number, values, state=_ENDED[record.status])
        self._write_best(study)

    def _cut_off(self, study: optuna.Study) -> list[tuple[int, tuple[str, ...]]]:
        """Return the trials that no living sweep runs, and that were begun."""
        begun = [trial for trial in _running(study) if "job" in trial.user_attrs]
        return [(trial.number, tuple(trial.user_attrs["job"])) for trial in begun if self._is_cut(trial)]

    def _is_cut(self, trial: FrozenTrial) -> bool:
        place = Path(trial.user_attrs.get("sweep", ""))
        if not (place / "sweep.json").exists():
            return True
        is_own = place == self.folder.path
        key = job_key(trial.user_attrs["job"])
        found = read_status(place, is_launching=False if is_own else None)
        return any(job.is_open and job_key(job.overrides) == key for job in found.jobs)

    def _write_best(self, study: optuna.Study) -> None:
        trials = study.get_trials(deepcopy=False)
        record: dict[str, Any] = {"study": self._study_name, "storage": self._storage, "metric": self._metric}
        record["trials"] = {state.name.lower(): sum(t.state is state for t in trials) for state in TrialState}
        if record["trials"]["complete"]:
            best = study.best_trial
            record |= {"best_value": best.value, "best_params": best.params, "best_job": best.user_attrs.get("job")}
        write_json(self.folder.path / "study.json", record)


def _running(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state is TrialState.RUNNING]


def sampled(trial: optuna.trial.BaseTrial, override: Override) -> Any:
    """Return an override's value: as given where it is one value, else what the trial suggests."""
    if not override.is_sweep_override():
        return override.get_value_element_as_str()
    key, value = override.get_key_element(), override.value()
    if isinstance(value, IntervalSweep):
        is_log = "log" in value.tags
        if isinstance(value.start, int) and isinstance(value.end, int):
            return trial.suggest_int(key, value.start, value.end, log=is_log)
        return trial.suggest_float(key, float(value.start or 0), float(value.end or 0), log=is_log)
    if isinstance(value, RangeSweep) and all(isinstance(n, int) for n in (value.start, value.stop, value.step)):
        last = list(range(int(value.start or 0), int(value.stop or 0), int(value.step)))[-1]
        return trial.suggest_int(key, int(value.start or 0), last, step=int(value.step))
    return trial.suggest_categorical(key, compose.sweep_values(override, []))
