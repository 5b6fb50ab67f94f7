"""What a bank holds, in the order in which it came: one JSON line per change, appended and never edited.

A line is `{"add": [{"id", "segment", "sha256", "date"}, ...]}`, `{"remove": [row, ...]}` or both at once, which
replaces a document in one step. Rows are numbered in the order of addition. A last line that a crash cut short is
ignored, so what can be read is always a prefix of what was written.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from cmt_cli.core.atomic import write_bytes
from cmt_cli.core.exceptions import UserError
from cmt_cli.memory.records import Entry


class Manifest:
    """The entries of all rows, and which of them are live; kept in RAM and, with a path, on disk."""

    def __init__(self, path: Path | None) -> None:
        """Read `path` if it exists. Nothing is written before the first `sync`."""
        self.entries: list[Entry] = []
        self.removed: dict[int, None] = {}  # rows, in the order of removal
        self._rows_of: dict[str, list[int]] = {}  # live rows by document
        self._path = path
        self._hasher = hashlib.sha256()  # of all entries
        self._lines: list[bytes] = []  # not yet on disk
        self._file: BinaryIO | None = None
        self.num_bytes = 0
        self._size_when_read = 0
        if path is not None and path.exists():
            self._read(path)

    def rows_of(self, document_id: str) -> list[int]:
        """Return the live rows of a document, oldest first; an empty list if it is not stored."""
        return list(self._rows_of.get(document_id, ()))

    @property
    def num_documents(self) -> int:
        """Return the number of documents with a live row."""
        return len(self._rows_of)

    def assign_rows(self, entries: Sequence[Entry], *, replacing: bool) -> tuple[list[int], list[int]]:
        """Return the row that each new entry has or would get, and the positions of those that need a new row.

        An entry with the id, segment and hash of a live row keeps it. Another hash is an error, unless `replacing`.
        """
        stored = {row: self.entries[row] for e in entries for row in self._rows_of.get(e.document_id, ())}
        former = {(e.document_id, e.segment): (e.sha256, row) for row, e in stored.items()}
        given: dict[tuple[str, int], tuple[str, int]] = {}
        rows: list[int] = []
        fresh: list[int] = []
        for i, entry in enumerate(entries):
            place = entry.document_id, entry.segment
            known = given.get(place, former.get(place))
            if known is None or (replacing and place not in given and known[0] != entry.sha256):
                known = entry.sha256, len(self.entries) + len(fresh)
                fresh.append(i)
            elif known[0] != entry.sha256:
                raise UserError(
                    f"Document '{entry.document_id}', segment {entry.segment}, is already stored with another text. "
                    "Give the new text another id, or replace the document."
                )
            given[place] = known
            rows.append(known[1])
        return rows, fresh

    def change(self, added: Sequence[Entry], removed: Sequence[int]) -> None:
        """Add rows and remove others in one step. `sync` puts it on disk."""
        line: dict[str, Any] = {}
        if added:
            line["add"] = [
                {"id": e.document_id, "segment": e.segment, "sha256": e.sha256, "date": e.date} for e in added
            ]
        if removed:
            line["remove"] = list(removed)
        self._apply(added, removed)
        self._keep_line(line)

    def claim(self) -> None:
        """Raise `UserError` if somebody has written since the manifest was read; call it before the first write."""
        if self._path is not None and self._file is None:
            self._file = self._open(self._path)

    def sync(self) -> None:
        """Return when every change is on disk."""
        if self._path is None or not self._lines:
            self._lines.clear()
            return
        self.claim()
        assert self._file is not None
        self._file.write(b"".join(self._lines))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._lines.clear()

    def digest(self, num_rows: int) -> str:
        """Return a hash of the first `num_rows` entries, which tells whether two banks began alike."""
        if num_rows == len(self.entries):
            return self._hasher.hexdigest()
        hasher = hashlib.sha256()
        for entry in self.entries[:num_rows]:
            hasher.update(_identity(entry))
        return hasher.hexdigest()

    def truncate(self, num_rows: int) -> None:
        """Forget the rows from number `num_rows` on; removals of earlier rows stay. On disk when it returns."""
        entries, removed = self.entries[:num_rows], [row for row in self.removed if row < num_rows]
        self.close()
        self.entries, self.removed, self._rows_of = [], {}, {}
        self._hasher, self.num_bytes = hashlib.sha256(), 0
        for entry in entries:
            self.change([entry], [])
        if removed:
            self.change([], removed)
        if self._path is not None:
            write_bytes(self._path, b"".join(self._lines))
            self._size_when_read = self.num_bytes
        self._lines.clear()

    def close(self) -> None:
        """Put everything on disk and close the file."""
        self.sync()
        if self._file is not None:
            self._file.close()
            self._file = None
            self._size_when_read = self.num_bytes

    def _apply(self, added: Sequence[Entry], removed: Sequence[int]) -> None:
        for entry in added:
            self._rows_of.setdefault(entry.document_id, []).append(len(self.entries))
            self.entries.append(entry)
            self._hasher.update(_identity(entry))
        for row in removed:
            document_id = self.entries[row].document_id
            self._rows_of[document_id].remove(row)
            if not self._rows_of[document_id]:
                del self._rows_of[document_id]
            self.removed[row] = None

    def _keep_line(self, line: dict[str, Any]) -> None:
        encoded = (json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
        self.num_bytes += len(encoded)
        self._lines.append(encoded)

    def _open(self, path: Path) -> BinaryIO:
        if path.exists() and path.stat().st_size != self._size_when_read:
            raise UserError(f"{path} was changed after it was opened here. Use one writer at a time.")
        complete = self.num_bytes - sum(len(line) for line in self._lines)
        if self._size_when_read > complete:
            os.truncate(path, complete)  # the line that a crash cut short
        return path.open("ab")

    def _read(self, path: Path) -> None:
        content = path.read_bytes()
        self._size_when_read = len(content)
        lines = content.split(b"\n")
        for number, encoded in enumerate(lines[:-1], start=1):
            try:
                line = json.loads(encoded)
                added = [Entry(e["id"], e["segment"], e["sha256"], e["date"]) for e in line.get("add", ())]
                self._apply(added, line.get("remove", ()))
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                if not any(lines[number:]):
                    return  # power failed while the last line was written
                raise UserError(
                    f"{path}, line {number}: not a record of a memory bank ({error}). The file was edited or damaged. "
                    "Restore it, or delete the whole folder and store the documents again."
                ) from error
            self.num_bytes += len(encoded) + 1


def _identity(entry: Entry) -> bytes:
    return json.dumps([entry.document_id, entry.segment, entry.sha256]).encode()
