"""Which entries of a sweep's `sweep.json` need the user's consent before the sweep is repeated.

The file holds command lines, and its folder may come from somebody else. Settings of methods, models and data are
harmless, since targets and paths are checked as for any run; what executes other code, reads environment variables, or
chooses where is written, is taken only from the command line.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from cmt_cli.core.exceptions import UserError
from cmt_cli.sweeps.folder import is_for_hydra
from cmt_cli.sweeps.status import SweepStatus

_CODE = ("trust", "_target_")  # trusted_targets, trust_remote_code, and targets given by hand
_VARIABLE = re.compile(r"oc\.env|\$\{[^}]*\$\{")  # an interpolation in an interpolation may spell the same
_PLACES = ("logger.path", "paths.runs", "paths.cache")
_SETTINGS = {  # of launchers and sweepers that are a number or a name, and nothing that is run
    "hydra.launcher": "n_jobs batch_size verbose num_parallel timeout_min gpus_per_node tasks_per_node max_num_timeout "
    "partition account qos nodes cpus_per_task mem_gb constraint exclude array_parallelism signal_delay_s "
    "stderr_to_stdout name",
    "hydra.sweeper": "n_trials n_jobs metric direction study_name max_batch_size max_starts",
    "hydra.sweeper.sampler": "seed n_startup_trials multivariate constant_liar",
    "hydra.sweeper.pruner": "n_startup_trials n_warmup_steps",
}
_HARMLESS = {
    "hydra/launcher",
    "hydra/sweeper",
    *(f"{k}.{name}" for k, line in _SETTINGS.items() for name in line.split()),
}
_PLAIN = re.compile(r"['\"\w.,+-]*")  # a number, a name or a few of them


def refuse_untrusted(found: SweepStatus, trusted: Sequence[str]) -> None:
    """Raise UserError for entries of a sweep's plan that need consent and are not among `trusted`, word for word.

    The storage of a study that a job's record names is one of them where it lies elsewhere than the runs.
    """
    folder, plan = found.path, found.plan
    lines = dict.fromkeys([*plan.overrides, *plan.hydra, *(line for job in plan.jobs for line in job)])
    entries = [line for line in lines if _needs_consent(line, folder)]
    if plan.config_dir is not None:
        entries.append(plan.config_dir)  # its yaml files can set anything
    trials = [job.record.trial for job in found.jobs if job.record is not None and job.record.trial is not None]
    entries += dict.fromkeys(trial.storage for trial in trials if not _is_beside(trial.storage, folder))
    named = {*trusted, *(str(Path(name).resolve()) for name in trusted if Path(name).is_dir())}
    missing = [entry for entry in entries if entry not in named]
    if missing:
        options = shlex.join(word for entry in entries for word in ("--trust", entry))
        raise UserError(
            f"{folder}/sweep.json executes code that is not cmt's, reads your environment, or chooses where is "
            f"written: {', '.join(missing)}. Nothing of it was executed. If you trust it, repeat the command with "
            f"{options}."
        )


def _needs_consent(line: str, folder: Path) -> bool:
    key, _, value = line.lstrip("+~").partition("=")
    if any(word in line for word in _CODE) or _VARIABLE.search(line):
        return True
    if is_for_hydra(line):
        # The sweep's folder is put in the place of the one that is named.
        return key != "hydra.sweep.dir" and not (key in _HARMLESS and _PLAIN.fullmatch(value))
    if key == "paths.runs":
        return Path(value.strip("'\"")).resolve() != _runs_of(folder)
    return key in _PLACES or key.endswith(".cache") or ("{" in value and key.partition(".")[0] in ("logger", "paths"))


def _is_beside(storage: str, folder: Path) -> bool:
    """Say whether a study is kept where studies are by default, `<runs>/.studies/`."""
    runs = _runs_of(folder)
    return runs is not None and "://" not in storage and Path(storage).resolve().parent == runs / ".studies"


def _runs_of(folder: Path) -> Path | None:
    """Return the folder of runs that a sweep's folder lies in, as `<runs>/.sweeps/<name>`."""
    place = folder.resolve().parent
    return place.parent if place.name == ".sweeps" else None
