"""Continual learning of language models. In Python: `cmt_cli.run("method=cmt", ...)` and `cmt_cli.load(folder)`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cmt_cli.running.loaded_run import Run


def run(*overrides: str, config_dir: str | Path | None = None) -> Run:
    """Make a run as `cmt run OVERRIDES` does, or continue it, and return it; a complete one is only read.

    Overrides are strings, one by one. Raises UserError for settings that cannot work, and Interrupted where a signal
    stopped it with its state saved.
    """
    if other := [override for override in overrides if not isinstance(override, str)]:
        raise TypeError(
            f"cmt_cli.run takes strings, one by one, not {type(other[0]).__name__}: run('method=cmt', 'seed=1'), or "
            "run(*overrides) with a list of them."
        )
    from cmt_cli.config.check import Request, check
    from cmt_cli.running.job import Job
    from cmt_cli.running.job_run import run as make
    from cmt_cli.running.loaded_run import Run

    request = Request(tuple(overrides), config_dir=None if config_dir is None else Path(config_dir))
    return Run(make(Job.of(check(request))))


def load(folder: str | Path, *, trust: Sequence[str] = ()) -> Run:
    """Return the run in a folder; `trust` names what its configuration may execute.

    That is packages whose classes it uses, and models (`name_or_path`) whose repositories hold code. Raises UserError
    where the folder holds no run.
    """
    from cmt_cli.running.loaded_run import Run

    return Run(Path(folder), trust=trust)


def export(
    run: str | Path,
    folder: str | Path,
    *,
    task: int | None = None,
    form: str | None = None,
    trust: Sequence[str] = (),
) -> Path:
    """Write the adapted model of the run in a folder as `cmt export RUN DIR` does, and return the new folder.

    `form` is "peft", "merged" or None, the first where an adapter alone was trained. Raises UserError where the folder
    holds something already, and for a method that answers with more than a model.
    """
    from cmt_cli.exporting.export import export as write

    return write(Path(run), Path(folder), task=task, form=form, trust=trust).folder


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("cmt-cli")
    raise AttributeError(f"module 'cmt_cli' has no attribute '{name}'")
