"""Names what a saved configuration would execute or learn besides its own, and refuses what the user has not named.

A run folder may come from somebody else, so consent lies on the command line (`--trust NAME`), never in the folder:
packages of `trusted_targets` are named as they stand there, code of a model's repository by the model's `name_or_path`,
task files of probes by their paths, environment variables as `oc.env:NAME`: a variable's value could be made part of a
prompt, and so of what is sent on.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmt_cli.config import references
from cmt_cli.core.exceptions import UserError
from cmt_cli.probes.task_files import is_file

REMOTE_CODE, TRUST_CODE = "trust_remote_code", "trust_code"


def refuse_untrusted(config: Mapping[str, Any], trusted: Sequence[str], *, path: Path) -> None:
    """Raise UserError where the configuration in `path` takes what `trusted` does not name: code or variables."""
    code = {name: what for name, what in executed(config).items() if name not in trusted}
    private = {name: what for name, what in variables(config).items() if name not in trusted}
    if code or private:
        options = shlex.join(word for name in [*trusted, *code, *private] for word in ("--trust", name))
        found = [f"uses code that is not cmt's: {'; '.join(code.values())}"] if code else []
        found += [f"reads your environment: {'; '.join(private.values())}"] if private else []
        raise UserError(
            f"{path} {', and '.join(found)}. Nothing of it was {'executed' if code else 'read'}. If you "
            f"trust it, repeat the command with {options}."
        )


def variables(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables that a configuration reads: in words, by the name that `--trust` takes."""
    return {f"oc.env:{name}": f"the variable {name} ({where})" for name, where in references.names(config).items()}


def executed(config: Mapping[str, Any]) -> dict[str, str]:
    """Return what a configuration executes besides this package: in words, by the name that `--trust` takes."""
    packages = config.get("trusted_targets") or ()
    if not isinstance(packages, list | tuple):
        raise UserError(f"trusted_targets={packages!r} is no list of packages.")
    found = {str(name): f"the package {name} (trusted_targets)" for name in packages}
    return {**found, **dict(_models(config, "")), **dict(_task_files(config.get("probes")))}


def _task_files(probes: Any) -> Iterator[tuple[str, str]]:
    """Yield the task files of probes, which hold templates and may name functions, by their names there."""
    if not isinstance(probes, Mapping):
        return
    tasks = probes.get("tasks")
    for task in tasks if isinstance(tasks, list | tuple) else [tasks]:
        if isinstance(task, str) and is_file(task):
            yield task, f"the task file {task} (probes.tasks)"
    if (folder := probes.get("include_path")) is not None:
        yield str(folder), f"the task files in {folder} (probes.include_path)"
    if probes.get(TRUST_CODE, False) is not False:
        yield f"probes.{TRUST_CODE}", f"code that tasks of lm-evaluation-harness name (probes.{TRUST_CODE})"


def _models(node: Any, where: str) -> Iterator[tuple[str, str]]:
    """Yield the models whose repositories' code is executed, at any depth of a configuration."""
    if isinstance(node, Mapping):
        if node.get(REMOTE_CODE, False) is not False:
            name = str(node.get("name_or_path") or where)
            yield name, f"the code in the repository of {name} ({where}.{REMOTE_CODE})"
        for key, value in node.items():
            yield from _models(value, f"{where}.{key}" if where else str(key))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _models(value, f"{where}[{index}]")
