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
_PLACE_KEYS = ("device", "cache", "distributed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """The names under which a run is filed. `method`, `data` and `model` are the names of the config choices."""

    method: str
    data: str
    model: str
    seed: int
    config_hash: str


def config_hash(config: Mapping[str, Any], *, ignore_seed: bool = False) -> str:
    """Return the sha256 (hex) of a resolved config without paths, logger, baselines, device and processes.

    Paths below `paths.*` count by their name in `paths`, so that the hash is the same on another machine.
    `ignore_seed` leaves every key named `seed` out: runs that agree then are repetitions of one experiment.
    """
    roots = {str(value): name for name, value in dict(config.get("paths") or {}).items()}
    settings = {key: value for key, value in config.items() if key not in NOT_SETTINGS}
    ignored = (*_PLACE_KEYS, "seed") if ignore_seed else _PLACE_KEYS
    canonical = json.dumps(_canonical(settings, roots, ignored), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _canonical(value: Any, roots: Mapping[str, str], ignored: tuple[str, ...]) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(inner, roots, ignored) for key, inner in value.items() if key not in ignored}
    if isinstance(value, list | tuple):
        return [_canonical(inner, roots, ignored) for inner in value]
    if isinstance(value, str):
        for root, name in roots.items():
            if value == root or value.startswith(root.rstrip("/") + "/"):
                return f"paths.{name}{value[len(root.rstrip('/')) :]}"
    return value


def folder_name(identity: Identity, data: Provenance) -> str:
    """Return the name of the run's folder, `<method>-<data>[-generated][-validation]-<model>-<hash8>`."""
    labels = [label for label in (data.source, data.split) if label not in ("real", "test")]
    return "-".join([identity.method, identity.data, *labels, identity.model, identity.config_hash[:8]])


def versions() -> dict[str, str]:
    """Return the versions of what decides a run's numbers."""
    packages = {"cmt": "cmt-cli", "torch": "torch", "transformers": "transformers"}
    found = {name: _version(package) for name, package in packages.items()}
    return {**found, "python": platform.python_version()}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


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
