"""Where a run that was loaded from its folder writes: beside that folder and in the user's own cache.

The folder may come from somebody else, so the places in its config.yaml are not used for writing. Reading data and
models from where it says is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from cmt_cli.config import catalog
from cmt_cli.config.value_types import TARGET

_CACHE = "cache"  # the parameter of every stream that generates or unpacks files
_SOURCE, _MODEL, _MODELS = "source", "name_or_path", "models"  # a folder that is made, its key, its place in the cache
_UNNAMED = "model"  # the folder of one whose path ends in no name
_OWN_STREAMS = "cmt_cli.data."
_FILES = {"cmt_cli.running.loggers.JsonLines": ("path", "events.jsonl")}  # by target: parameter, name beside the runs


def own_paths(folder: Path) -> dict[str, str]:
    """Return `paths.runs` and `paths.cache` for a run in `folder`: where it lies, and what the user's settings say."""
    defaults = OmegaConf.load(catalog.conf_dir() / "paths" / "default.yaml")
    return {"runs": str(folder.parent), _CACHE: str(OmegaConf.select(defaults, _CACHE))}


def confined(config: Mapping[str, Any], paths: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a configuration whose parts write below `paths`, and what was replaced in it, by key.

    `config["paths"]` itself stays: the hash of a run counts paths by their names in it.
    """
    named = config.get("paths") or {}
    replaced = {
        f"paths.{name}": str(named[name]) for name in paths if name in named and not _same(named[name], paths[name])
    }
    changed = dict(config)
    for group in ("data", "logger", "model"):
        changed[group] = _placed(config.get(group), paths)
        replaced |= dict(_differences(config.get(group), changed[group], group))
    return changed, replaced


def _placed(node: Any, paths: Mapping[str, str], *, is_group: bool = True) -> Any:
    """Return a node in which whatever names a written place names the user's own.

    A `cache` inside a group is a place for this package's streams; of trusted code it is a setting like others.
    """
    if isinstance(node, list | tuple):
        return [_placed(value, paths, is_group=False) for value in node]
    if not isinstance(node, Mapping):
        return node
    found = {key: _placed(value, paths, is_group=False) for key, value in node.items()}
    is_place = isinstance(found.get(_CACHE), str) and (is_group or str(found.get(TARGET)).startswith(_OWN_STREAMS))
    if TARGET in found and is_place and not _same(found[_CACHE], paths[_CACHE]):
        found[_CACHE] = paths[_CACHE]
    if isinstance(found.get(_SOURCE), Mapping) and isinstance(found.get(_MODEL), str):
        name = Path(found[_MODEL]).name
        own = str(Path(paths[_CACHE]) / _MODELS / (_UNNAMED if name in ("", "..") else name))
        found[_MODEL] = found[_MODEL] if _same(found[_MODEL], own) else own
    key, name = _FILES.get(str(found.get(TARGET)), ("", ""))
    own = str(Path(paths["runs"]) / name)
    if key in found and not _same(found[key], own):
        found[key] = own
    return found


def _differences(old: Any, new: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(old, Mapping):
        for key in old:
            yield from _differences(old[key], new[key], f"{where}.{key}")
    elif old != new and not isinstance(old, list | tuple):
        yield where, str(old)


def _same(one: Any, other: str) -> bool:
    return Path(str(one)).expanduser().resolve() == Path(other).expanduser().resolve()
