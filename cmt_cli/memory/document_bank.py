"""A bank of document memories: append, replace, remove, search and fetch; on disk or in RAM, and it knows no method.

One row is one segment of a document: its memory `[tokens, width]`, its key `[key_width]` for search, optionally what a
method computed from the memory once (`cached`, such as an aggregator's keys and values), and where it came from.
Files: bank.json (settings), manifest.jsonl (see `manifest`), memory_*.npy, key_*.npy, cached_*.npy (see `shards`),
quantizer.safetensors (codebooks of product quantization).

Crashes: a row's bytes reach the disk before its line in the manifest, so an interrupted bank opens with a prefix of
what was appended. One process may write at a time; opening alone changes nothing but the bytes of rows already removed.

Removal is final: the row's bytes are overwritten with zeros, and going back to an earlier `position` does not bring
them back (`truncate` names such documents). `remove` of a document that is not stored does nothing, and `append` and
`replace` of what is already stored add nothing, so work that is repeated after a crash ends in the same bank.
The same text under another document id is a row of its own: removing one document must not take another's memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.memory.index import ExactIndex, KeyIndex
from cmt_cli.memory.manifest import Manifest
from cmt_cli.memory.records import Entry, Records, StorageBytes, claim_folder
from cmt_cli.memory.vector_storage import CACHED, KEY, MEMORY, VectorStorage

FORMAT = 1  # of the files; a change that old files cannot be read with counts it up
ROWS_PER_SYNC = 256  # appended rows between two syncs to disk; a crash loses at most these
KEYS_PER_READ = 16384  # rows decoded at once when an index is filled; no effect on the result


class DocumentBank:
    """Memories of documents by row number, found by key."""

    def __init__(
        self,
        *,
        folder: Path | None,
        num_tokens: int,
        width: int,
        key_width: int,
        dtype: str,
        device: torch.device,
        cache_width: int = 0,
    ) -> None:
        """Open or create the bank in `folder`, or make one in RAM if it is None.

        `dtype` is "float32", "bfloat16", "int8" or "pq"; keys and `cached` are float32 with "float32", else bfloat16,
        but "pq" can also code keys (`fit_quantizer`). Raises `UserError` if the folder's bank has other settings.
        """
        self.num_tokens, self.width, self.key_width, self.cache_width = num_tokens, width, key_width, cache_width
        self.dtype, self.device, self.folder = dtype, device, folder
        shapes = {MEMORY: (num_tokens, width), KEY: (1, key_width), CACHED: (1, cache_width)}
        if folder is not None:
            settings = {"num_tokens": num_tokens, "width": width, "key_width": key_width, "cache_width": cache_width}
            claim_folder(folder, {"format": FORMAT, "dtype": dtype, **settings})
        self._storage = VectorStorage(folder=folder, shapes=shapes, dtype=dtype, device=device)
        self._manifest = Manifest(folder / "manifest.jsonl" if folder is not None else None)
        self._storage.finish_erasing(np.array(list(self._manifest.removed), dtype=np.int64))
        self._is_clean = folder is None  # nothing of an interrupted process lies behind the last row
        self._unsynced_rows = 0
        self.use_index(ExactIndex(key_width=key_width, device=device))

    def __len__(self) -> int:
        """Return the number of live rows (segments)."""
        return len(self._manifest.entries) - len(self._manifest.removed)

    @property
    def num_documents(self) -> int:
        """Return the number of documents with at least one live row."""
        return self._manifest.num_documents

    def rows(self) -> Tensor:
        """Return the numbers of all live rows `[rows]`, oldest first."""
        removed = self._manifest.removed
        live = [row for row in range(len(self._manifest.entries)) if row not in removed]
        return torch.tensor(live, dtype=torch.long, device=self.device)

    def rows_of(self, document_id: str) -> list[int]:
        """Return the live rows of a document, oldest first; an empty list if it is not stored."""
        return self._manifest.rows_of(document_id)

    def entry(self, row: int) -> Entry:
        """Return where a row came from, removed or not."""
        if not 0 <= row < len(self._manifest.entries):
            raise IndexError(f"There is no row {row}; the bank has {counted(len(self._manifest.entries), 'row')}.")
        return self._manifest.entries[row]

    def document_id(self, row: int) -> str:
        """Return the document that a row belongs to."""
        return self.entry(row).document_id

    def storage_bytes(self) -> StorageBytes:
        """Return the bytes in use by kind; divide by `num_documents` for bytes per document."""
        num_rows = len(self._manifest.entries)
        used = {name: size * num_rows for name, size in self._storage.row_bytes.items()}
        memory, key, cached = (used.get(name, 0) for name in (MEMORY, KEY, CACHED))
        return StorageBytes(memory, key, cached, self._manifest.num_bytes, len(self._storage.codebook))

    @property
    def needs_quantizer(self) -> bool:
        """Say whether `fit_quantizer` must be called before anything can be stored."""
        return not self._storage.is_ready

    def fit_quantizer(
        self, memories: Tensor, keys: Tensor, *, bytes_per_token: int, bytes_per_key: int, seed: int
    ) -> None:
        """Train the codebooks of dtype "pq" on a sample: `memories` `[n, tokens, width]`, `keys` `[n, key_width]`.

        With `bytes_per_key` 0 keys are stored as bfloat16. To be called before anything is appended.
        """
        if self.dtype != "pq" or self._manifest.entries:
            raise ValueError("Codebooks can only be fitted for dtype 'pq' and before the first row is stored.")
        samples = {MEMORY: memories} | ({KEY: keys[:, None]} if bytes_per_key else {})
        sizes = {MEMORY: bytes_per_token, KEY: bytes_per_key}
        self._storage.fit(samples, sizes, torch.Generator().manual_seed(seed))

    def append(self, records: Records) -> list[int]:
        """Store records and return their rows; a record with the id, segment and hash of a stored one keeps its row.

        Raises `UserError` for a stored id and segment with another text: `replace` says that this is meant.
        """
        entries = records.entries()
        rows, fresh = self._manifest.assign_rows(entries, replacing=False)
        self._write(records, fresh)
        for i in fresh:
            self._manifest.change([entries[i]], [])
        self._unsynced_rows += len(fresh)
        if self._unsynced_rows >= ROWS_PER_SYNC:
            self.sync()
        return rows

    def replace(self, document_id: str, records: Records) -> list[int]:
        """Make `records` the only rows of a document, in one step; return their rows. Unchanged segments keep them."""
        if set(records.document_ids) != {document_id}:
            raise ValueError(f"replace('{document_id}') was given records of {sorted(set(records.document_ids))}.")
        former = self.rows_of(document_id)
        entries = records.entries()
        rows, fresh = self._manifest.assign_rows(entries, replacing=True)
        self._write(records, fresh)
        self._change([entries[i] for i in fresh], [row for row in former if row not in rows])
        return rows

    def remove(self, document_id: str) -> int:
        """Remove a document for good and return how many rows it had; zeros take the place of its bytes."""
        former = self.rows_of(document_id)
        self._change([], former)
        return len(former)

    def use_index(self, index: KeyIndex) -> None:
        """Search with another, empty index from here on; it is filled with the stored keys."""
        self.index = index
        rows = np.arange(len(self._manifest.entries))
        for start in range(0, len(rows), KEYS_PER_READ):
            index.add(self._storage.read(KEY, rows[start : start + KEYS_PER_READ])[:, 0])
        index.remove(list(self._manifest.removed))

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return scores (float32) and rows `[batch, k]` of the best inner products with queries `[batch, key_width]`.

        Where fewer than k rows are live, the score is -inf and the row -1. Equal scores are ordered by row.
        """
        return self.index.search(queries.to(self.device), k)

    def memories(self, rows: Tensor) -> Tensor:
        """Return memories `[..., tokens, width]`, float32, of rows `[...]`; zeros for row -1 and for removed rows."""
        return self._read(MEMORY, rows)

    def keys(self, rows: Tensor) -> Tensor:
        """Return keys `[..., key_width]`, float32, as they are searched, of rows `[...]`; zeros as in `memories`."""
        return self._read(KEY, rows)[..., 0, :]

    def cached(self, rows: Tensor) -> Tensor:
        """Return what the writer cached `[..., cache_width]`, float32, of rows `[...]`; zeros as in `memories`."""
        return self._read(CACHED, rows)[..., 0, :]

    def sync(self) -> None:
        """Return when every change is on disk."""
        self._storage.sync()
        self._manifest.sync()
        self._unsynced_rows = 0

    def close(self) -> None:
        """Put everything on disk and close the files."""
        self.sync()
        self._storage.close()
        self._manifest.close()

    def position(self) -> dict[str, Any]:
        """Return a JSON value that `truncate` can go back to; everything before it is on disk."""
        self.sync()
        num_rows = len(self._manifest.entries)
        return {
            "rows": num_rows,
            "removed": len(self._manifest.removed),
            "digest": self._manifest.digest(num_rows),
            "quantizer": self._storage.codebook_sha256,
        }

    def truncate(self, position: dict[str, Any]) -> list[str]:
        """Drop all rows appended after `position`; return the documents that it had and that were removed since.

        Raises `UserError` if this is not the bank that the position was taken of.
        """
        num_rows = int(position["rows"])
        known = num_rows <= len(self._manifest.entries) and self._manifest.digest(num_rows) == position["digest"]
        if not known or position["quantizer"] not in (None, self._storage.codebook_sha256):
            raise UserError(
                f"The memory bank in {self.folder or 'RAM'} is not the one that the checkpoint was saved with: the "
                f"{counted(num_rows, 'row')} of the checkpoint, or the codebooks, are not here. Restore the folder, "
                "or delete the run and start it again."
            )
        since = [row for row in list(self._manifest.removed)[position["removed"] :] if row < num_rows]
        self._manifest.truncate(num_rows)
        self._storage.discard_from(num_rows)
        self._is_clean, self._unsynced_rows = True, 0
        self.index.truncate(num_rows)
        if position["quantizer"] is None:
            self._storage.forget_codebooks()
        return list(dict.fromkeys(self.document_id(row) for row in since))

    def clear(self) -> None:
        """Drop everything, codebooks included."""
        self.truncate({"rows": 0, "removed": 0, "digest": self._manifest.digest(0), "quantizer": None})

    def _write(self, records: Records, fresh: Sequence[int]) -> None:
        vectors = {MEMORY: records.memories, KEY: records.keys[:, None]}
        if records.cached is not None:
            vectors[CACHED] = records.cached[:, None]
        self._storage.check(vectors, len(records.document_ids))
        if not fresh:
            return
        if not self._is_clean:
            self._manifest.claim()
            self._storage.discard_from(len(self._manifest.entries))
            self._is_clean = True
        codes = self._storage.encode({name: v[torch.tensor(fresh, device=v.device)] for name, v in vectors.items()})
        self._storage.write(len(self._manifest.entries), codes)
        self.index.add(self._storage.decode(KEY, codes[KEY])[:, 0])

    def _change(self, added: Sequence[Entry], removed: Sequence[int]) -> None:
        if not added and not removed:
            return
        self._manifest.change(added, removed)
        self.sync()
        self._storage.erase(np.array(removed, dtype=np.int64))
        self.index.remove(removed)

    def _read(self, name: str, rows: Tensor) -> Tensor:
        flat = rows.flatten().cpu().numpy()
        if len(flat) and flat.max() >= len(self._manifest.entries):
            raise IndexError(
                f"There is no row {flat.max()}; the bank has {counted(len(self._manifest.entries), 'row')}."
            )
        present = (flat >= 0) & ~np.isin(flat, list(self._manifest.removed))
        stored = self._storage.read(name, flat[present])
        if not present.all():
            complete = stored.new_zeros(len(flat), *stored.shape[1:])
            complete[torch.from_numpy(present).to(self.device)] = stored
            stored = complete
        return stored.reshape(*rows.shape, *stored.shape[1:])
