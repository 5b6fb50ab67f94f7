"""What goes into a document bank, where it came from, what it weighs, and the settings of its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cmt_cli.core.atomic import write_bytes
from cmt_cli.core.exceptions import UserError


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a row came from: a segment of a document, the hash of its text, the document's date (ISO) if known."""

    document_id: str
    segment: int
    sha256: str
    date: str | None


@dataclass(frozen=True, kw_only=True)
class Records:
    """Segments to store: `memories` `[n, tokens, width]`, `keys` `[n, key_width]`, `cached` `[n, cache_width]` or None.

    `sha256` are hashes of the segments' texts (`text_sha256`); empty `segments` mean 0 for all, empty `dates` unknown.
    """

    document_ids: Sequence[str]
    sha256: Sequence[str]
    memories: Tensor
    keys: Tensor
    segments: Sequence[int] = ()
    dates: Sequence[str | None] = ()
    cached: Tensor | None = None

    def entries(self) -> list[Entry]:
        """Return one entry per record."""
        num_records = len(self.document_ids)
        segments = self.segments or [0] * num_records
        dates = self.dates or [None] * num_records
        return [Entry(*fields) for fields in zip(self.document_ids, segments, self.sha256, dates, strict=True)]


@dataclass(frozen=True, slots=True)
class StorageBytes:
    """Bytes of all rows ever written, removed ones too; `text` is ids, hashes and dates; all rows share `codebook`."""

    memory: int
    key: int
    cached: int
    text: int
    codebook: int

    @property
    def total(self) -> int:
        """Return the sum."""
        return self.memory + self.key + self.cached + self.text + self.codebook


def text_sha256(text: str) -> str:
    """Return the hash by which a bank recognizes a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def claim_folder(folder: Path, settings: Mapping[str, int | str]) -> None:
    """Write the settings of a new bank to `bank.json`, or raise `UserError` where a bank with others is."""
    path = folder / "bank.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(path, json.dumps(dict(settings), indent=2).encode())
        return
    try:
        stored = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(
            f"'{path}' cannot be read ({error}). It is damaged: put it back, or delete the whole folder and store "
            "the documents again."
        ) from error
    wrong = [f"{key}={stored.get(key)}, not {value}" for key, value in settings.items() if stored.get(key) != value]
    if wrong:
        raise UserError(
            f"The memory bank in {folder} was made with {'; '.join(wrong)}. Use its settings, or choose another folder."
        )
