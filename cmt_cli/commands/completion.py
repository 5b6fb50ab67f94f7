"""What <TAB> offers after `cmt run`, `cmt list`, `cmt show` and the rest.

bash splits words at `=`, so `method=c<TAB>` arrives as the three words `method`, `=`, `c`: then bare option names are
offered. zsh and fish pass `method=c` whole: then whole words are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from cmt_cli.commands.run_folders import run_names
from cmt_cli.config import catalog
from cmt_cli.config.catalog import KINDS, MATRIX


def overrides(context: typer.Context, incomplete: str) -> list[str]:
    """Complete a Hydra override: keys, `group=`, options of a group, keys below a group."""
    folder = context.params.get("config_dir")
    dirs = [catalog.conf_dir(), *([Path(folder)] if folder and Path(folder).is_dir() else [])]
    earlier = [str(word) for word in context.params.get("overrides") or []]
    return complete(earlier, incomplete, dirs)


def complete(earlier: Sequence[str], incomplete: str, dirs: Sequence[Path]) -> list[str]:
    """Return the words that can stand where `incomplete` is, after the words `earlier`."""
    groups = catalog.group_names(dirs)
    if earlier[-1:] == ["="] and len(earlier) > 1:
        return _options(earlier[-2], incomplete, dirs)
    if earlier and earlier[-1] in groups and incomplete in ("", "="):
        return _options(earlier[-1], "", dirs)
    key, equals, begun = incomplete.partition("=")
    if equals:
        return [f"{key}={name}" for name in _options(key, begun, dirs)]
    bare = incomplete.lstrip("+~")
    prefix = incomplete[: len(incomplete) - len(bare)]
    if "." in bare:
        words = _nested(bare.partition(".")[0], earlier, dirs)
    else:
        words = _groups(groups, dirs, whole=bool(bare))
        words += [f"{key}=" for key in catalog.top_level_keys(dirs[0] / "run.yaml")]
    return [prefix + word for word in words if word.startswith(bare)]


def _groups(groups: Sequence[str], dirs: Sequence[Path], *, whole: bool) -> list[str]:
    """Return `group=option` words: of several, a shell inserts `group=` without the space that follows a lone word."""
    if not whole:
        return [f"{group}=" for group in groups]
    return [f"{group}={option.name}" for group in groups for option in catalog.options(group, dirs)]


def _options(group: str, begun: str, dirs: Sequence[Path]) -> list[str]:
    *previous, last = begun.split(",")  # a sweep: method=cmt,ma<TAB>
    names = [option.name for option in catalog.options(group.lstrip("+~"), dirs)]
    return [",".join([*previous, name]) for name in names if name.startswith(last) and name not in previous]


def _nested(group: str, earlier: Sequence[str], dirs: Sequence[Path]) -> list[str]:
    """Return `group.key=` for the keys of the option chosen so far, or of every option of the group."""
    words = " ".join(earlier).replace(" = ", "=").split()
    chosen = [word.partition("=")[2] for word in words if word.startswith(f"{group}=")]
    options = catalog.options(group, dirs)
    options = [option for option in options if option.name in chosen] or options
    return sorted({f"{group}.{key}=" for option in options for key in catalog.top_level_keys(option.path)})


def kinds(incomplete: str) -> list[str]:
    """Complete what `cmt list` can list."""
    return [kind for kind in (*KINDS, MATRIX) if kind.startswith(incomplete)]


def names(context: typer.Context, incomplete: str) -> list[str]:
    """Complete an entry of the list that `cmt list` shall show."""
    folder = context.params.get("config_dir")
    dirs = [catalog.conf_dir(), *([Path(folder)] if folder and Path(folder).is_dir() else [])]
    group = KINDS.get(str(context.params.get("kind")))
    found = catalog.options(group, dirs) if group else []
    return [option.name for option in found if option.name.startswith(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Complete the names of the runs in `runs/`."""
    return [
        name for name in run_names() if name.startswith(incomplete) and name.isprintable()
    ]  # a shell prints them raw


def models(incomplete: str) -> list[str]:
    """Complete the names of the base models."""
    return _names("model", incomplete)


def streams(incomplete: str) -> list[str]:
    """Complete the names of the streams."""
    return _names("data", incomplete)


def _names(group: str, incomplete: str) -> list[str]:
    names = [option.name for option in catalog.options(group, [catalog.conf_dir()])]
    return [name for name in names if name.startswith(incomplete)]
