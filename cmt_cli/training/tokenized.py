"""The token rows of many examples: in memory, or for stored examples in a file that later runs find again.

Tokenizing a million examples takes minutes and gigabytes. The rows of `StoredRows` are therefore written below their
`cache`, under a name made of all that decides them: the examples' content, the tokenizer, the format of prompts, the
room for tokens and the code of this package that splits and cuts. A folder may be deleted at any time, and is made anew
with a warning where its files are not those that were written.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from array import array
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
from typing_extensions import override

from cmt_cli.core import learner as learner_module
from cmt_cli.core import prompt_format as format_module
from cmt_cli.core import tokens as tokens_module
from cmt_cli.core.atomic import note_use, published, read_sealed, write_sealed
from cmt_cli.core.batch import Row
from cmt_cli.core.exceptions import CmtWarning
from cmt_cli.core.learner import Learner
from cmt_cli.core.stored_rows import DamagedFile, StoredRows, file_sha256, load_array, read_at
from cmt_cli.core.stream import Example

FOLDER = "tokens"  # below the cache
IDS_FILE, META_FILE = "ids.bin", "tokens.json"
ARRAYS = ("offsets", "num_prompt_tokens", "examples")  # int64, [rows + 1], [rows], [rows]
ID_TYPE = np.dtype("<i4")
CHUNK = 1024  # examples between two reports of progress

Progress = Callable[[int, int], None]  # examples done, of how many


class TokenRows(Protocol):
    """Rows by index, and all their lengths without reading them."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def __getitem__(self, index: int) -> Row:
        """Return one row."""

    def __iter__(self) -> Iterator[Row]:
        """Yield all rows."""

    def lengths(self) -> list[int]:
        """Return each row's number of tokens."""


def tokenized(learner: Learner, examples: Sequence[Example], progress: Progress | None = None) -> TokenRows:
    """Return the learner's rows of all examples, in order; `progress` is called now and then where there are many."""
    if isinstance(examples, StoredRows) and len(examples):
        key = _key(learner, examples)
        if key is not None:
            return _stored(learner, examples, examples.cache / FOLDER / key, progress)
    return _Rows(row for _, row in _rows(learner, examples, progress))


class _Rows(list[Row]):
    """Rows in memory."""

    def lengths(self) -> list[int]:
        return [len(row.input_ids) for row in self]


class _StoredTokens(Sequence[Row]):
    """Rows of stored examples in a file of token ids."""

    def __init__(self, folder: Path, examples: Sequence[Example]) -> None:
        """Open a folder; raise DamagedFile where it is not what was written, OSError where it is not there."""
        try:
            meta = read_sealed(folder / META_FILE)
            expected, self.num_truncated = dict(meta["sha256"]), int(meta["num_truncated"])
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedFile(f"{folder / META_FILE} cannot be read") from error
        for name, digest in expected.items():
            if file_sha256(folder / name) != digest:
                raise DamagedFile(f"{folder / name} is not what was written")
        self._ids = (folder / IDS_FILE).open("rb", buffering=0)
        self._offsets, self._num_prompt_tokens, self._owners = (load_array(folder / f"{name}.npy") for name in ARRAYS)
        self._examples = examples

    def lengths(self) -> list[int]:
        found: list[int] = np.diff(self._offsets).tolist()
        return found

    @override
    def __len__(self) -> int:
        return len(self._num_prompt_tokens)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...

    @override
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        index %= len(self)
        start, stop = self._offsets[index : index + 2].tolist()
        ids = np.frombuffer(
            read_at(self._ids, ID_TYPE.itemsize * start, ID_TYPE.itemsize * (stop - start)), dtype=ID_TYPE
        )
        owner = self._examples[int(self._owners[index])]
        return Row(owner.id, tuple(ids.tolist()), int(self._num_prompt_tokens[index]))


def _rows(learner: Learner, examples: Sequence[Example], progress: Progress | None) -> Iterator[tuple[int, Row]]:
    """Yield every row with the index of its example."""
    for index, example in enumerate(examples):
        if progress is not None and index % CHUNK == 0 and len(examples) > CHUNK:
            progress(index, len(examples))
        for row in learner.rows(example):
            yield index, row


def _key(learner: Learner, examples: StoredRows[Example]) -> str | None:
    """Return a name of all that decides the rows; None where a learner or a tokenizer cannot be told from another."""
    backend = learner.tokenizer.backend_tokenizer if learner.tokenizer.is_fast else None
    if backend is None or type(learner) is not Learner:
        return None
    modules = learner_module, format_module, tokens_module
    code = [Path(str(module.__file__)).read_bytes() for module in modules]
    facts = {
        "examples": examples.sha256,
        "tokenizer": hashlib.sha256(backend.to_str().encode()).hexdigest(),
        "settings": sorted((key, str(value)) for key, value in learner.tokenizer.init_kwargs.items()),
        "library": version("tokenizers"),
        "special": [*tokens_module.start_ids(learner.tokenizer), learner.eos_id],
        "format": learner.prompt_format.facts(),
        "num_positions": learner.num_positions,
        "code": [hashlib.sha256(source).hexdigest() for source in (*code, Path(__file__).read_bytes())],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _stored(learner: Learner, examples: StoredRows[Example], folder: Path, progress: Progress | None) -> TokenRows:
    """Return the rows in `folder`, written first where they are not there or damaged."""
    found = _opened(folder, examples)
    if found is None:
        before = learner.num_truncated
        try:
            _write(learner, examples, folder, progress)
            found = _StoredTokens(folder, examples)
        except (OSError, DamagedFile) as error:
            warnings.warn(
                f"Token rows cannot be kept in {folder} ({error}); they are held in memory.", CmtWarning, stacklevel=2
            )
            learner.num_truncated = before
            return _Rows(row for _, row in _rows(learner, examples, progress))
        learner.num_truncated = before
    learner.num_truncated += found.num_truncated
    return found


def _opened(folder: Path, examples: Sequence[Example]) -> _StoredTokens | None:
    try:
        found = _StoredTokens(folder, examples)
        note_use(folder)
        return found
    except (DamagedFile, OSError) as error:
        if not folder.is_dir():
            return None
        reason = str(error)
    warnings.warn(f"The token rows in {folder} are damaged ({reason}) and made anew.", CmtWarning, stacklevel=2)
    shutil.rmtree(folder, ignore_errors=True)
    return None


def _write(learner: Learner, examples: Sequence[Example], folder: Path, progress: Progress | None) -> None:
    before = learner.num_truncated
    with published(folder) as inner:
        columns: dict[str, array[int]] = {name: array("q") for name in ARRAYS}
        columns["offsets"].append(0)
        with (inner / IDS_FILE).open("wb") as file:
            for owner, row in _rows(learner, examples, progress):
                file.write(np.array(row.input_ids, dtype=ID_TYPE).tobytes())
                columns["offsets"].append(columns["offsets"][-1] + len(row.input_ids))
                columns["num_prompt_tokens"].append(row.num_prompt_tokens)
                columns["examples"].append(owner)
        for name, values in columns.items():
            np.save(inner / f"{name}.npy", np.asarray(values), allow_pickle=False)
        digests = {file.name: file_sha256(file) for file in sorted(inner.iterdir())}
        meta: dict[str, Any] = {"sha256": digests, "num_truncated": learner.num_truncated - before}
        write_sealed(inner / META_FILE, meta)
