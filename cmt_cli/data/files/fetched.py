"""The record of what was fetched into a folder, beside the files: their sha256, and the commits that they are of.

{"files": {"train.csv": "b06e..."}, "datasets": {"PolyAI/banking77": "796a..."}}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cmt_cli.core.atomic import write_json

FILE = ".fetched.json"

Progress = Callable[[str, int, int], None]  # what is happening, how much is done, of how much


class Downloads(Protocol):
    """The files of a layout that the hub has."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """Return the names of the data sets."""

    @property
    def settings(self) -> tuple[str, ...]:
        """Return the overrides with which a run reads what the hub has, where it lacks what the defaults name."""

    def fetch(self, path: Path, progress: Progress, revisions: Mapping[str, str]) -> bool:
        """Write the files into a folder; False where they, or others, are there."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """sha256 of files by their path in the folder, and the commit of each data set of the hub that they come from."""

    files: Mapping[str, str]
    datasets: Mapping[str, str]

    def commits(self, digests: Set[str]) -> str:
        """Return which commits the files with these sha256 are of, or "" where not all were fetched."""
        if not digests or not digests <= set(self.files.values()):
            return ""
        return ", ".join(f"{name} at {commit}" for name, commit in sorted(self.datasets.items()))


def fetched_into(folder: Path) -> Fetched:
    """Return the record of a folder; an empty one where there is none or it is damaged: then no license is claimed."""
    try:
        found = json.loads((folder / FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        found = {}
    if not isinstance(found, dict):
        return Fetched({}, {})
    files = found.get("files", found)  # files alone, as older versions wrote
    return Fetched(_texts(files), _texts(found.get("datasets", {})))


def note_fetched(folder: Path, files: Mapping[str, str], datasets: Mapping[str, str]) -> None:
    """Add files and commits to the record of a folder."""
    before = fetched_into(folder)
    record = {"files": {**before.files, **files}, "datasets": {**before.datasets, **datasets}}
    write_json(folder / FILE, record)


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(text, str)}
