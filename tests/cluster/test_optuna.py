"""A search by Optuna: on the validation split only, pruned after a task, shared by sweeps, going on after a stop."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from cmt_cli.sweeps.status import read_status
from tests.cluster.project import LONG, Project, num_steps, sweep_folder, wait_for
from tests.command_line import SMALL

optuna = pytest.importorskip("optuna", reason="pip install 'cmt-cli[optuna]'")
trials = pytest.importorskip("cmt_cli.sweeps.trials")
pytestmark = pytest.mark.cluster
SEARCH = (
    "method=finetune",
    "trainer.task.learning_rate=tag(log,interval(1e-5,1e-2))",
    "hydra/sweeper=optuna",
    "hydra.sweeper.study_name=mine",
    "data.selection.stream_split=validation",
)


def study(project: Project) -> Any:
    storage = trials.open_storage(str(project.folder / "runs" / ".studies" / "mine.journal"))
    return optuna.load_study(study_name="mine", storage=storage)


def test_two_sweeps_share_the_trials_of_a_study(project: Project) -> None:
    together = ("hydra.sweeper.n_trials=5", "hydra.sweeper.n_jobs=2", "hydra/launcher=joblib")
    sweeps = [project.start("run", "-m", *SEARCH, *together, *SMALL) for _ in range(2)]
    told = [sweep.communicate(timeout=200)[0] for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0], told
    found = study(project).trials
    assert 5 <= len(found) <= 6  # both may ask at the same moment
    assert {trial.state.name for trial in found} == {"COMPLETE"}
    assert len({trial.params["trainer.task.learning_rate"] for trial in found}) == len(found)
    assert "Best aa on validation" in told[0]
    jobs = [job for path in project.folder.glob("runs/.sweeps/*") for job in read_status(path).jobs]
    numbers = [job.record.trial.number for job in jobs if job.record and job.record.trial]
    assert sorted(numbers) == list(range(len(found)))


def test_a_stopped_study_continues_its_interrupted_trial(project: Project) -> None:
    long = [*SMALL, *LONG[1:]]
    sweep = project.start("run", "-m", *SEARCH, "hydra.sweeper.n_trials=2", *long)
    try:
        folder = sweep_folder(project)
        wait_for(lambda: (c := read_status(folder).jobs) and (r := c[0].record) and num_steps(r.folder) > 2)
        sweep.send_signal(signal.SIGTERM)
        told, _ = sweep.communicate(timeout=60)
    finally:
        sweep.kill()
    assert sweep.returncode == 143, told
    assert [trial.state.name for trial in study(project).trials] == ["RUNNING"]
    assert "2 complete" in project.cmt("sweep", "repeat", "latest")
    assert [trial.state.name for trial in study(project).trials] == ["COMPLETE", "COMPLETE"]
    first = read_status(folder).jobs[0].record
    assert first is not None and first.num_starts == 2 and first.trial is not None and first.trial.number == 0


def test_a_poor_trial_is_pruned_and_keeps_its_state(project: Project) -> None:
    storage = str(project.folder / "runs" / ".studies" / "mine.journal")
    made = optuna.create_study(study_name="mine", storage=trials.open_storage(storage), direction="maximize")
    for _ in range(2):  # what other trials had: every answer right after task 1
        earlier = made.ask()
        earlier.report(1.0, 1)
        made.tell(earlier, 1.0)
    pruner = ("hydra.sweeper.pruner.n_startup_trials=1", "hydra.sweeper.pruner.n_warmup_steps=0")
    told = project.cmt(
        "run", "-m", *SEARCH, "hydra.sweeper.n_trials=3", "hydra.sweeper.direction=maximize", *pruner, *SMALL
    )
    assert "1 pruned" in told
    assert made.trials[2].state.name == "PRUNED" and list(made.trials[2].intermediate_values) == [1]
    (run,) = (project.folder / "runs").glob("finetune-*")
    assert json.loads((run / "result.json").read_text())["status"] == "interrupted"
    assert (run / "checkpoint" / "state" / "latest").exists()
