"""The files of a stream out of data sets of the hub: each stream declares its own, and one piece of code fetches them.

A source names a data set, the commit that is known to fit or the branch that the first preparation resolves, the tables
in it with the shapes of their columns, and how their rows are written in the layout that the stream's reader reads.
All of it is written beside the folder and checked before anything appears in it; the folder's record then has the
commits, and the sha256 of what was written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cmt_cli.core.atomic import folder_beside, sync
from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.data.files.fetched import Progress, fetched_into, note_fetched
from cmt_cli.data.files.json_document import read_json
from cmt_cli.data.files.origin import is_present
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import sha256_of
from cmt_cli.data.files.table_rows import TableForm, named_labels, rows_of
from cmt_cli.data.hub.hub_errors import HubError
from cmt_cli.data.hub.shapes import RowCheck, Shape
from cmt_cli.data.hub.snapshot import COMMIT, HubFile, Snapshot, check_room, downloaded, snapshot

CONVERTED = "refs/convert/parquet"  # the branch into which the hub itself converts other data sets; without programs
MAIN = "main"
_FORM = TableForm(has_quotes=True, header=None, delimiter=None)
_PROGRESS_ROWS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class HubSource:
    """A data set of the hub and the files of a layout that are made of it.

    `tables` are globs of csv, json, jsonl or parquet files by name, `columns` the shapes that every row must have;
    `label_files` names the json files that map labels to the numbers in a column. `files` are what
    `write(folder, tables)` writes, as paths in the folder.
    """

    dataset: str
    revision: str
    tables: Mapping[str, str]
    columns: Mapping[str, Shape]
    files: tuple[str, ...]
    write: Callable[[Path, Tables], None]
    label_files: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_pinned(self) -> bool:
        """Return whether the commit is known here, and not only at the first preparation."""
        return COMMIT.fullmatch(self.revision) is not None


class Tables:
    """The tables of a source at one commit; what is not as it should be ends the reading with a HubError."""

    def __init__(self, source: HubSource, found: Snapshot, progress: Progress) -> None:
        """Find the files of all tables; raise HubError where some are missing or the disk has no room for them."""
        self._source, self._found, self._progress = source, found, progress
        self._files = {name: self._matching(pattern) for name, pattern in source.tables.items()}
        label_files = {column: self._matching(pattern)[0] for column, pattern in source.label_files.items()}
        check_room(source.dataset, [*label_files.values(), *(file for part in self._files.values() for file in part)])
        self._labels = {column: self._names_in(file) for column, file in label_files.items()}
        self._check = RowCheck(source.columns)
        self._num_rows = 0

    def rows(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Yield the rows of a table, each as it should be."""
        problems: list[Problem] = []
        for file in self._files[name]:
            path = downloaded(self._found, file, self._progress)
            for number, (_, record) in enumerate(rows_of(path, _FORM, problems), start=1):
                row = {name: named_labels(value, self._labels.get(name)) for name, value in record.values.items()}
                if fault := self._check.fault(row):
                    raise self._refusal(f"{file.path}, row {number}: {fault}")
                self._num_rows += 1
                if self._num_rows % _PROGRESS_ROWS == 0:
                    self._progress(f"reading {self._source.dataset}", self._num_rows, 0)
                yield row
            if problems:
                raise self._refusal(f"{file.path} {problems[0].message}")

    def check(self) -> None:
        """Raise HubError where the rows that were read hold more or fewer labels than they should."""
        if fault := self._check.lacking():
            raise self._refusal(fault)

    def _names_in(self, file: HubFile) -> list[str]:
        """Return the labels of a json file in the order of their numbers."""
        problems: list[Problem] = []
        document = read_json(downloaded(self._found, file, self._progress), problems)
        numbers = document.value if document is not None else None
        if not isinstance(numbers, dict) or sorted(map(str, numbers.values())) != sorted(map(str, range(len(numbers)))):
            raise self._refusal(f"{file.path} must map each label to its number, from 0")
        return sorted(numbers, key=lambda label: int(numbers[label]))

    def _matching(self, pattern: str) -> list[HubFile]:
        files = self._found.matching(pattern)
        if files:
            return files
        if self._found.has_script and not any(file.path.endswith((".parquet", ".jsonl")) for file in self._found.files):
            raise self._refusal(
                "it is a program that gets the data from elsewhere, and no program of a data set is run here; what the "
                f"hub itself converts lies in the branch {CONVERTED}"
            )
        raise self._refusal(f"it has no file {pattern}, or not all of its parts")

    def _refusal(self, fault: str) -> HubError:
        return HubError(
            f"{self._source.dataset} at {self._found.commit} is not laid out as this version expects: {fault}. Nothing "
            "was written. An earlier commit can be named with --revision."
        )


@dataclass(frozen=True, slots=True)
class HubFiles:
    """The sources of a layout's files; `settings` are overrides for a run where the hub lacks some of the defaults."""

    sources: tuple[HubSource, ...]
    settings: tuple[str, ...] = ()

    @property
    def datasets(self) -> tuple[str, ...]:
        """Return the names of the data sets."""
        return tuple(source.dataset for source in self.sources)

    @property
    def files(self) -> tuple[str, ...]:
        """Return the files that are written, as paths in the folder."""
        return tuple(file for source in self.sources for file in source.files)

    def fetch(self, path: Path, progress: Progress, revisions: Mapping[str, str]) -> bool:
        """Write the files into a folder; False where all are there, or the folder holds the user's own.

        What is missing from a folder that was fetched is added, of the commits of the rest. `revisions` has a commit
        for data sets that are not to be read at their own; "" stands for the only one.
        Raises HubError where the hub refuses or rows are not as they should be, UserError where other files are there.
        """
        named, before = self._named(revisions), fetched_into(path)
        is_whole = all((path / file).is_file() for file in self.files)
        if is_whole or (is_present(path) and not before.files):
            _check_present(path, named)
            return False
        noted = before.datasets if is_present(path) else {}
        own = {source.dataset: noted.get(source.dataset, source.revision) for source in self.sources}
        wanted = {**own, **named}
        path.parent.mkdir(parents=True, exist_ok=True)
        with folder_beside(path) as inner:
            commits = {}
            for source in self.sources:
                progress(f"looking up {source.dataset}", 0, 0)
                found = snapshot(source.dataset, wanted[source.dataset])
                tables = Tables(source, found, progress)
                source.write(inner, tables)
                tables.check()
                commits[source.dataset] = found.commit
            _publish(inner, path, commits)
        return True

    def _named(self, revisions: Mapping[str, str]) -> dict[str, str]:
        """Return the commits that the user names; raise UserError for branches and for data sets that are not read."""
        named: dict[str, str] = {}
        for dataset, commit in revisions.items():
            if not dataset and len(self.sources) > 1:
                names = " ".join(f"--revision {name}@COMMIT" for name in self.datasets)
                raise UserError(f"--revision {commit} does not say of which data set; there are several: {names}.")
            name = dataset or self.datasets[0]
            if name not in self.datasets:
                near = nearest(name, self.datasets)
                raise UserError(f"--revision {name}@{commit}: what is read is {', '.join(self.datasets)}.{near}")
            if not COMMIT.fullmatch(commit):
                raise UserError(f"--revision {commit} is no commit: give all 40 letters and digits that the hub shows.")
            named[name] = commit
        return named


def _check_present(path: Path, named: Mapping[str, str]) -> None:
    """Raise UserError where the files that are there are not known to be of the commits that the user names."""
    noted = fetched_into(path).datasets
    for dataset, commit in named.items():
        if noted.get(dataset) != commit:
            has = f"of {dataset} at {noted[dataset]}" if dataset in noted else f"of no known commit of {dataset}"
            raise UserError(
                f"The files in {path} are {has}, not {commit}. Move the folder away and repeat the command."
            )


def _publish(inner: Path, path: Path, commits: Mapping[str, str]) -> None:
    """Move finished files to their place, having noted what they are; raise UserError where another file is in one.

    The note comes first: where the moves are cut off, the folder is known for one that was being fetched.
    """
    files = sorted(file for file in inner.rglob("*") if file.is_file())
    digests = {file.relative_to(inner).as_posix(): sha256_of(file) for file in files}
    for name, digest in digests.items():
        if (path / name).exists() and sha256_of(path / name) != digest:
            raise UserError(
                f"{path / name} is there, but is not what the hub has now, and is left as it is. Move it away, or name "
                "the commit that it is of with --revision."
            )
    for file in files:
        sync(file)
    if not path.exists():
        note_fetched(inner, digests, commits)
        sync(inner)
        os.replace(inner, path)
        sync(path.parent)
        return
    note_fetched(path, digests, commits)
    for name in digests:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(inner / name, path / name)
        sync((path / name).parent)
