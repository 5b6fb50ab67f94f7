"""Code outside the package of lm-evaluation-harness that its tasks would run: found before, or stopped at the call.

A task that is marked as unsafe may run code as soon as it is loaded, so that marks are read before. Metrics of the
package evaluate are scripts of the hub, which tasks of the harness load where they like.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import evaluate

from cmt_cli.core.exceptions import UserError
from cmt_cli.probes.task_files import content_of


def refuse_unsafe(name: str, file: Path | None, index: Mapping[str, Any]) -> None:
    """Raise UserError where a task, or one of a group or tag, is marked as unsafe; `index` is the harness's."""
    _refuse(name, _config(name, index) if file is None else content_of(file), index)


def _refuse(name: str, config: Mapping[str, Any], index: Mapping[str, Any]) -> None:
    if config.get("unsafe_code", False) is not False:
        raise UserError(
            f"The probe '{name}' executes code that the model writes (unsafe_code). Nothing of it was executed. If you "
            "want that, in a place where it can do no harm, repeat the command with probes.trust_code=true."
        )
    members = config.get("task")
    for member in members if isinstance(members, list) else ():
        own: Mapping[str, Any] = member if isinstance(member, Mapping) else {"task": member}
        inner = str(own.get("group") or own.get("task"))
        _refuse(inner, own, index)
        if inner in index:
            _refuse(inner, _config(inner, index), index)


def _config(name: str, index: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is written of a task or group, its functions by name only; of a tag its tasks."""
    entry = index.get(name)
    if entry is None:
        return {}
    return entry.cfg if entry.cfg is not None else {"task": sorted(entry.tags)}


@contextlib.contextmanager
def no_downloaded_code(name: str, trust_code: bool) -> Iterator[None]:
    """Raise UserError where something inside loads a metric of the package evaluate, unless it is trusted."""
    load, asked = evaluate.load, list[str]()

    def refuse(path: str, *rest: Any, **settings: Any) -> Any:
        asked.append(path)
        raise UserError(f"The metric '{path}' is not trusted.")

    try:
        if not trust_code:
            evaluate.load = refuse
        yield
    except UserError:
        if not asked:
            raise
    finally:
        evaluate.load = load
    if asked:
        raise UserError(
            f"The probe '{name}' runs the metric '{asked[0]}' of the package evaluate, a script that is downloaded. It "
            "was not executed. If you trust it, repeat the command with probes.trust_code=true."
        )
