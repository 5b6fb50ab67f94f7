"""Run folders of versions whose modules lay elsewhere: they can be read and compared, but not built again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmt_cli.core.exceptions import UserError

_PACKAGE = Path(__file__).resolve().parents[1]
_RENAMED = {"references": "baselines"}  # keys of commands by their former name


def missing_modules(config: Mapping[str, Any]) -> list[str]:
    """Return the modules of this package that a run's `_target_`s name and that are not there."""
    modules = dict.fromkeys(target.rpartition(".")[0] for target in _targets(config))
    return [name for name in modules if name.partition(".")[0] == _PACKAGE.name and not _is_there(name)]


def refuse_moved(folder: Path, config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Raise UserError where a run's modules are not there any more; `overrides` are those that it was made with."""
    missing = missing_modules(config)
    if missing:
        raise UserError(
            f"The run in {folder} was made by another version, whose modules lay elsewhere (there is no {missing[0]} "
            f"here): it can be shown and compared, but not continued; repeat its command: {run_command(overrides)}"
        )


def run_command(overrides: Sequence[str]) -> str:
    """Return `cmt run` with overrides, quoted for a shell; keys that were renamed have their present names."""
    words = [_renamed(override) for override in overrides]
    return shlex.join(["cmt", "run", *words])


def _renamed(override: str) -> str:
    key, equals, value = override.partition("=")
    return f"{_RENAMED.get(key, key)}{equals}{value}"


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_" and isinstance(value, str):
                yield value
            else:
                yield from _targets(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _targets(value)


def _is_there(module: str) -> bool:
    """Look for a module's file: importing its parents could load torch."""
    place = _PACKAGE.joinpath(*module.split(".")[1:])
    return place.with_suffix(".py").is_file() or place.is_dir()
