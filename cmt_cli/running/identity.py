"""What a run is: its method, data, model, seed and the hash of its settings, which together name its folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmt_cli.core.stream import Provenance

# Where a run happens, who watches it and what it is compared with do not change its scores.
_FORMER = ("references", "reference_methods")  # names of `baselines` and `baseline_methods` in older run folders
NOT_SETTINGS = ("paths", "logger", "hydra", "baselines", "baseline_methods", "size", *_FORMER)
_PLACES = ("model.device", "trainer.distributed", "data.cache")  # keys that are unhashed there, and nowhere else
_NO_PROBES = "cmt_cli.evaluation.probes.NoProbes"
_OWN_DATA = "cmt_cli.data."  # targets of streams, whose `cache` is a place wherever they stand
_SEED = "seed"
ABSENT = "not installed"
THEN = " then "  # between versions of a run that was continued with another
_NUMERICAL = (  # packages that change numbers: what computes, splits texts into tokens, reads data, and scores
    *("torch", "transformers", "tokenizers", "peft", "numpy", "datasets", "pyarrow", "sacrebleu", "rouge-score"),
    *("rapidfuzz", "bitsandbytes", "faiss-cpu", "spacy", "lm_eval"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """The names under which a run is filed. `method`, `data` and `model` are the names of the config choices."""

    method: str
    data: str
    model: str
    seed: int
    config_hash: str


def config_hash(config: Mapping[str, Any], *, ignore_seed: bool = False) -> str:
    """Return the sha256 (hex) of a resolved config without paths, logger, baselines, and the keys of `_PLACES`.

    Paths below `paths.*` count by their name in `paths`, so that the hash is the same on another machine.
    `ignore_seed` leaves every key named `seed` out: runs that agree then are repetitions of one experiment.
    """
    roots = {str(value): name for name, value in dict(config.get("paths") or {}).items()}
    settings = {key: value for key, value in config.items() if key not in NOT_SETTINGS and not asks_nothing(key, value)}
    canonical = json.dumps(_canonical(settings, roots, ignore_seed), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _canonical(value: Any, roots: Mapping[str, str], ignore_seed: bool, path: str = "") -> Any:
    if isinstance(value, Mapping):
        return {
            str(key): _canonical(inner, roots, ignore_seed, f"{path}.{key}" if path else str(key))
            for key, inner in value.items()
            if not (_is_place(value, key, path) or _is_unused(inner, key, path) or (ignore_seed and key == _SEED))
        }
    if isinstance(value, list | tuple):
        return [_canonical(inner, roots, ignore_seed, f"{path}.{i}") for i, inner in enumerate(value)]
    if isinstance(value, str):
        for root, name in roots.items():
            if value == root or value.startswith(root.rstrip("/") + "/"):
                return f"paths.{name}{value[len(root.rstrip('/')) :]}"
    return value


def asks_nothing(key: str, value: Any) -> bool:
    """Return whether a setting says that there are no probes, as all settings do that have no such key."""
    return key == "probes" and (value is None or value == {"_target_": _NO_PROBES})


def _is_unused(value: Any, key: Any, path: str) -> bool:
    """Return whether a key says that a model has no adapter or no other source, as all that have no such key."""
    return value is None and f"{path}.{key}" in ("model.adapter", "model.source")


def _is_place(node: Mapping[Any, Any], key: Any, path: str) -> bool:
    """Return whether a key of the node at `path` says where a run happens rather than what it computes."""
    if f"{path}.{key}" == "model.name_or_path":
        return isinstance(node.get("source"), Mapping)  # which says what is made there
    if f"{path}.{key}" in _PLACES:
        return node[key] is None or isinstance(node[key], str)
    return key == "cache" and path.startswith("data.") and str(node.get("_target_", "")).startswith(_OWN_DATA)


def folder_name(identity: Identity, data: Provenance) -> str:
    """Return the name of the run's folder, `<method>-<data>[-generated][-validation]-<model>-<hash8>`."""
    labels = [label for label in (data.source, data.split) if label not in ("real", "test")]
    return "-".join([identity.method, identity.data, *labels, identity.model, identity.config_hash[:8]])


def versions() -> dict[str, str]:
    """Return the versions of what decides a run's numbers; `ABSENT` for a package that is not there."""
    found = {package: _version(package) for package in _NUMERICAL}
    return {"cmt": _version("cmt-cli"), **found, "python": platform.python_version()}


def versions_since(previous: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of a run that is continued: where one differs, those before it, too."""
    found = versions()
    for name, before in previous.items():
        now = found.get(name, before)
        found[name] = before if str(before).rpartition(THEN)[2] == now else f"{before}{THEN}{now}"
    return found


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ABSENT


def git_commit() -> str | None:
    """Return the commit of this package's checkout, with "-dirty" for changed files; None for an installed package."""
    package = Path(__file__).resolve().parents[1]
    if not (package.parent / ".git").exists():
        return None
    try:
        commit = _git(package, "rev-parse", "HEAD")
        changed = _git(package, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
