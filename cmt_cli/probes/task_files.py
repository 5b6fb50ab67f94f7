"""Task files of one's own, looked at before lm-evaluation-harness reads them, which would execute what they name.

A file names code by `!function module.name`, by a metric of the package evaluate (which downloads a script), and by
`unsafe_code`; what it includes counts as its own. Files of the harness's own package are taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cmt_cli.core.exceptions import UserError

SUFFIXES = (".yaml", ".yml")


class _Function(str):
    """What `!function` names."""


class _Loader(yaml.SafeLoader):
    """Reads a task file without executing anything."""


_Loader.add_constructor("!function", lambda loader, node: _Function(node.value))


def is_file(task: str) -> bool:
    """Say whether a task is given by its file rather than by name."""
    return task.endswith(SUFFIXES)


def checked_file(task: str) -> Path:
    """Return the path of a task file; raise UserError where there is none, or it is no task."""
    path = Path(task).expanduser()
    if not path.is_file():
        raise UserError(f"probes.tasks: there is no task file '{task}'. Name a file, or a task of the harness.")
    content = content_of(path)
    if not {"task", "group", "class"} & set(content):
        raise UserError(f"'{path}' is no task of lm-evaluation-harness: it has no `task:` with its name.")
    return path.resolve()


def files_below(folder: str) -> list[Path]:
    """Return the yaml files of an include folder; raise UserError where there is none."""
    root = Path(folder).expanduser()
    found = [path for suffix in SUFFIXES for path in sorted(root.glob(f"**/*{suffix}"))]
    if not found:
        raise UserError(f"probes.include_path={folder}: there is no folder with task files (*.yaml).")
    return found


def refuse_code(paths: Sequence[Path], *, metrics: frozenset[str], own: Path) -> None:
    """Raise UserError where a task file would execute code; `metrics` are those that the harness itself has.

    `own` is the folder of the harness's package.
    """
    for path in paths:
        for place, what in _code(path, metrics, own, seen=set()):
            raise UserError(
                f"The task file '{place}' runs {what}. Nothing of it was executed. If you trust it, repeat the command "
                "with probes.trust_code=true."
            )


def _code(path: Path, metrics: frozenset[str], own: Path, *, seen: set[Path]) -> Iterator[tuple[Path, str]]:
    path = path.resolve()
    if path in seen or path.is_relative_to(own):
        return
    seen.add(path)
    content = content_of(path)
    yield from ((path, what) for what in _named(content, metrics))
    included = content.get("include") or ()
    for name in [included] if isinstance(included, str) else included:
        yield from _code(path.parent / str(name), metrics, own, seen=seen)


def _named(node: Any, metrics: frozenset[str]) -> Iterator[str]:
    if isinstance(node, _Function):
        yield f"the function {node}"
    elif isinstance(node, Mapping):
        if node.get("unsafe_code", False) is not False:
            yield "code that it marks as unsafe (unsafe_code)"
        own_results = node.get("process_results") is not None  # then metrics are names only
        for metric in () if own_results else node.get("metric_list") or ():
            name = metric.get("metric") if isinstance(metric, Mapping) else None
            is_own = name in metrics and metric.get("hf_evaluate", False) is False
            if isinstance(name, str) and not isinstance(name, _Function) and not is_own:
                yield f"the metric '{name}' of the package evaluate, a script that is downloaded"
        for value in node.values():
            yield from _named(value, metrics)
    elif isinstance(node, list):
        for value in node:
            yield from _named(value, metrics)


def content_of(path: Path) -> dict[str, Any]:
    """Return what a task file says, functions by name only; raise UserError where it cannot be read."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' is no task file that can be read: {' '.join(str(error).split())}") from error
    except FileNotFoundError as error:
        raise UserError(f"There is no task file '{path}', which another one includes.") from error
    if not isinstance(content, dict):
        raise UserError(f"'{path}' is no task of lm-evaluation-harness: it holds a {type(content).__name__}.")
    return content
