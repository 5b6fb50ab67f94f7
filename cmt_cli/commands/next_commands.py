"""Which commands to try after a run, each as it works for this run: with its own overrides, quoted for a shell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cmt_cli.config import catalog
from cmt_cli.core.result import RunResult
from cmt_cli.running.older_runs import missing_modules, run_command

Hint = tuple[str, str]  # a command and its purpose

_DEFAULTS = {"method": "cmt", "data": "streamingqa", "model": "tiny"}  # of `cmt run` without overrides


def next_commands(result: RunResult, folder: Path, config: Mapping[str, Any] | None) -> list[Hint]:
    """Return commands to try next; `config` is what config.yaml holds, None where there is none."""
    path = shlex.quote(str(folder))
    can_be_built = config is not None and not missing_modules(config)
    own = _own_overrides(result, config)
    if result.status != "complete":
        if can_be_built:
            return [(f"cmt resume {path}", "continue where it stopped")]
        return [(_command(result, own), "make it again with this version")] if own is not None else []
    hints: list[Hint] = []
    if can_be_built and result.data.get("num_documents"):
        hints.append((f'cmt ask {path} "..."', "ask the adapted model a question about its documents"))
    hints.append((f"cmt show {path}", "print this again"))
    hints += _repetitions(result, own) if own is not None else []
    return [*hints, (f"cmt compare {shlex.quote(str(folder.parent))}", "one table of all runs")]


def needs_baseline(reason: str) -> bool:
    """Return whether a metric has no value for want of a baseline run, by the reason that the record gives."""
    return "baseline run" in reason or "reference run" in reason


def _repetitions(result: RunResult, own: Sequence[str]) -> list[Hint]:
    hints = []
    if any(metric.reason and needs_baseline(metric.reason) for metric in result.metrics.values()):
        command = _command(result, [*_without(own, "baselines", "references"), "baselines=auto"])
        hints.append((command, "make the baseline runs that some metrics need (several runs)"))
    again = [*_without(own, "seed"), f"seed={result.seed + 1}"]
    hints.append((_command(result, again), "repeat it with another seed"))
    if not any(word.lstrip("+").startswith("experiment=") for word in own):  # may set keys of its own method
        other = "frozen" if result.method != "frozen" else "finetune"
        kept = [word for word in own if not _is_of_method(word)]
        hints.append((_command(result, [f"method={other}", *kept]), "run another method beside it"))
    return hints


def _own_overrides(result: RunResult, config: Mapping[str, Any] | None) -> list[str] | None:
    """Return the overrides that a run was made with; None where they are not known."""
    hydra = dict((config or {}).get("hydra") or {})
    given = (hydra.get("overrides") or {}).get("task")
    names = {"method": result.method, "data": result.data["name"], "model": result.model["name"]}
    if not given and names != _DEFAULTS:
        return None  # a baseline that another run made, or an older record
    return [str(override) for override in given or ()]


def _command(result: RunResult, overrides: Sequence[str]) -> str:
    """Return `cmt run` with overrides, and with a folder to fill in where a name is not of this package."""
    names = {"method": result.method, "data": result.data["name"], "model": result.model["name"]}
    dirs = [catalog.conf_dir()]
    known = all(name in {o.name for o in catalog.options(group, dirs)} for group, name in names.items())
    return run_command(overrides) + ("" if known else " --config-dir ...")


def _without(overrides: Sequence[str], *keys: str) -> list[str]:
    return [word for word in overrides if word.lstrip("+~").partition("=")[0] not in keys]


def _is_of_method(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return key == "method" or key.startswith("method.") or "@method." in key
