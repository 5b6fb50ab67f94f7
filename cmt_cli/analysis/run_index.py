"""An index of a folder's runs, so that thousands are listed in a second. Never the truth: it may be deleted any time.

`.index` in the folder is a text file: a first line that names its version, then one line per run, fields apart by tabs

    folder (relative, JSON)   mtime_ns and size of result.json   head (JSON)   values (JSON)   facts (JSON)   crc32

`head` is what a list shows, `values` what runs are chosen by (metrics, cost, config), `facts` what else comparing
needs. Only heads are parsed for a list; a single value is looked up in the text. A line counts while result.json has
the same time and size, other runs are read anew. The file is replaced in one step, so that several writers cannot tear
it: the last one wins, and what it lacks is read again next time.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cmt_cli.analysis.repetitions import experiment_of, flat, order_of
from cmt_cli.core.atomic import owner, remove_leftovers
from cmt_cli.core.exceptions import CmtWarning, UserError
from cmt_cli.core.result import RunResult
from cmt_cli.data.files.regular_files import SpecialFileError, read_regular
from cmt_cli.running.run_files import read_config, read_result

INDEX_NAME = ".index"
_FIRST_LINE = "cmt run index 3; may be deleted"
_PARTS = ("metrics", "cost", "config")  # of the detail, in which a run's values are looked up
_DECODER = json.JSONDecoder()
_MISSING = object()
Stamp = tuple[int, int]  # mtime in ns and size in bytes of result.json
Progress = Callable[[str, int, int], None]


@dataclass(slots=True)
class RunEntry:
    """One run of an index."""

    folder: Path
    stamp: Stamp
    _head: str
    _values: str
    _facts: str
    _parsed: dict[str, Any] | None = None
    _parsed_detail: dict[str, Any] | None = None

    @property
    def head(self) -> dict[str, Any]:
        """Return what a list shows: names, seed, status, primary metric, AA, FGT, training seconds."""
        if self._parsed is None:
            self._parsed = json.loads(self._head)
        return self._parsed

    @property
    def detail(self) -> dict[str, Any]:
        """Return the blocks `data`, `model`, `tests`, `metrics`, `cost`, `config` (flat keys) and `experiment`."""
        if self._parsed_detail is None:
            self._parsed_detail = {**json.loads(self._values), **json.loads(self._facts)}
        return self._parsed_detail

    def value(self, key: str, default: Any = None) -> Any:
        """Return what a run is chosen by: a name, a metric, a cost or a config key, in this order."""
        if key in self.head:
            return self.head[key]
        if key == "folder":
            return self.folder.name
        if self._parsed_detail is None and key not in _PARTS:
            # Lists of the config may hold mappings, whose keys are no settings; none of them has a dot.
            end = len(self._values) if "." in key else self._values.index('"config":{')
            found = _look_up(self._values, key, end)
            if found is not _MISSING or "." in key:
                return default if found is _MISSING else found
        return next((self.detail[part][key] for part in _PARTS if key in self.detail[part]), default)

    def known_keys(self) -> list[str]:
        """Return the keys that `value` knows for this run."""
        return [*self.head, "folder", *(key for part in _PARTS for key in self.detail[part])]

    def line(self, root: Path) -> str:
        """Return the index's line."""
        name = json.dumps(os.path.relpath(self.folder, root))
        text = f"{name}\t{self.stamp[0]}\t{self.stamp[1]}\t{self._head}\t{self._values}\t{self._facts}"
        return f"{text}\t{_checksum(text)}\n"


def list_runs(root: Path, progress: Progress | None = None) -> list[RunEntry]:
    """Return the runs in or anywhere below `root`, sorted by path; unreadable ones are left out with a warning.

    The index is brought up to date where `root` may be written to. `progress` is told how many of the runs that the
    index lacks are read.
    """
    known = _read(root)
    stamps = dict(walk(root))
    found = {f: e for f, stamp in stamps.items() if (e := known.get(f)) is not None and e.stamp == stamp}
    missing = [folder for folder in stamps if folder not in found]
    for done, folder in enumerate(missing):
        if progress is not None:
            progress("Reading runs", done, len(missing))
        entry = _entry(folder, stamps[folder])
        if entry is not None:
            found[folder] = entry
    entries = [found[folder] for folder in stamps if folder in found]
    if root not in stamps and (len(known) != len(entries) or any(folder in found for folder in missing)):
        _write(root, entries)
    return entries


def walk(folder: Path) -> Iterator[tuple[Path, Stamp]]:
    """Yield the run folders in or below `folder` by path, with the stamp of their result.json; none inside another."""
    try:
        status = os.stat(folder / "result.json")
    except OSError:
        pass
    else:
        yield folder, (status.st_mtime_ns, status.st_size)
        return
    try:
        with os.scandir(folder) as items:
            below = sorted(item.name for item in items if item.is_dir(follow_symlinks=False))
    except OSError:  # not ours to read, or removed since its parent was listed
        return
    for name in below:
        yield from walk(folder / name)


def _entry(folder: Path, stamp: Stamp) -> RunEntry | None:
    try:
        result = read_result(folder)
        config = read_config(folder) if (folder / "config.yaml").is_file() else None
    except (UserError, OSError) as error:
        warnings.warn(str(error), CmtWarning, stacklevel=3)
        return None
    if result is None:  # gone since
        return None
    return RunEntry(
        folder, stamp, _json(_head(result)), _json(_values(result, config)), _json(_facts(result, config, folder))
    )


def _head(result: RunResult) -> dict[str, Any]:
    metrics = {name: metric.value for name, metric in result.metrics.items()}
    return {
        "method": result.method,
        "data": result.data["name"],
        "model": result.model["name"],
        "seed": result.seed,
        "status": result.status,
        "source": result.data["source"],
        "split": result.split,
        "primary_metric": result.primary_metric,
        "config_hash": result.config_hash,
        "aa": metrics.get("aa"),
        "fgt": metrics.get("fgt"),
        "train_seconds": result.cost.train_seconds,
    }


def _values(result: RunResult, config: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "metrics": {name: metric.value for name, metric in result.metrics.items() if metric.value is not None},
        "cost": asdict(result.cost),
        "config": flat(config or {}),
    }


def _facts(result: RunResult, config: Mapping[str, Any] | None, folder: Path) -> dict[str, Any]:
    primary = result.matrices.get(result.primary_metric)
    return {
        "data": dict(result.data),
        "model": dict(result.model),
        "tests": list(primary.tests) if primary else [],
        "probes": {name: fact["sha256"] for name, fact in result.probes.items()},
        "commit": result.git_commit,
        "order": order_of(config or {}),
        # A run whose config is lost repeats no other.
        "experiment": f"unknown: {folder.name}" if config is None else experiment_of(config),
    }


def _look_up(values: str, key: str, end: int) -> Any:
    """Return a key's value from the text of `values` before `end`.

    A quoted key and a colon cannot stand inside a JSON string, where quotes are escaped.
    """
    mark = f"{json.dumps(key)}:"
    place = values.find(mark, 0, end)
    return _MISSING if place < 0 else _DECODER.raw_decode(values, place + len(mark))[0]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))  # ASCII: no line end that is not ours


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def _read(root: Path) -> dict[Path, RunEntry]:
    """Return the entries of the index; a line that is torn, damaged or of another version counts for nothing."""
    try:
        first, *lines = read_regular(root / INDEX_NAME).decode().split("\n")
    except (OSError, UnicodeDecodeError, SpecialFileError):
        return {}
    if first != _FIRST_LINE:
        return {}
    entries: dict[Path, RunEntry] = {}
    base = str(root)
    for line in lines:
        text, _, checksum = line.rpartition("\t")
        fields = text.split("\t")
        if len(fields) == 6 and checksum == _checksum(text):
            folder = Path(base, json.loads(fields[0]))
            stamp = int(fields[1]), int(fields[2])
            entries[folder] = RunEntry(folder, stamp, fields[3], fields[4], fields[5])
    return entries


def _write(root: Path, entries: list[RunEntry]) -> None:
    """Replace the index; a folder that cannot be written to goes without."""
    try:
        remove_leftovers(root)
        handle, name = tempfile.mkstemp(dir=root, prefix=f"{INDEX_NAME}.", suffix=f".{owner()}.tmp")
    except OSError:
        return
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{_FIRST_LINE}\n")
            file.writelines(entry.line(root) for entry in entries)
        os.chmod(name, 0o644)
        os.replace(name, root / INDEX_NAME)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
