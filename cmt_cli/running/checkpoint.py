"""Resumable state on disk: safetensors and JSON only, whole or absent, the last two kept.

    <folder>/latest            the number of the newest checkpoint, replaced atomically
    <folder>/<n>/state.safetensors, state.json

`state.json` holds the plain values, a tag and the sha256 of the tensor file and of its own content, so that a torn or
changed file is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cmt_cli.core.atomic import sync, write_text
from cmt_cli.core.exceptions import CmtWarning, UserError, from_library, writing
from cmt_cli.core.objectives import State
from cmt_cli.core.stored_rows import file_sha256

_NUM_KEPT = 2
_JSON = (bool, int, float, str, type(None))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A saved state, the tag it was saved under (a phase of the run) and plain notes about it."""

    tag: str
    state: State
    notes: dict[str, Any]


class DamagedCheckpointError(UserError):
    """A checkpoint's files are missing, torn or changed."""


class Slot:
    """One series of checkpoints in a folder."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which need not exist yet."""
        self._folder = folder

    def save(self, state: State, *, tag: str, notes: dict[str, Any] | None = None) -> None:
        """Write a checkpoint; the ones before stay readable until it is complete. Raises TypeError on other values."""
        tensors = _separate_storages({k: v for k, v in state.items() if isinstance(v, Tensor)})
        values = {k: v for k, v in state.items() if not isinstance(v, Tensor)}
        for name, value in values.items():
            _check_plain(value, name)
        self._folder.mkdir(parents=True, exist_ok=True)
        latest = self._latest()
        self._remove([n for n in self._numbers() if n > latest])  # left by a process that died while saving
        target = self._folder / str(latest + 1)
        try:
            target.mkdir()
            _save_tensors(tensors, target / "state.safetensors")
            digest = file_sha256(target / "state.safetensors")
            # Infinity is a legal "best loss so far", hence not atomic.write_json, which refuses it.
            own = {"tag": tag, "notes": notes or {}, "values": values}
            record = {**own, "sha256": digest, "own_sha256": _text_sha256(own)}
            write_text(target / "state.json", json.dumps(record))
            write_text(self._folder / "latest", f"{latest + 1}\n")
        except BaseException:
            if self._latest() <= latest:
                shutil.rmtree(target, ignore_errors=True)  # on a full disk it may hold the room that is needed
            raise
        self.forget_old()

    def forget_old(self) -> None:
        """Remove what a process that died or met a full disk may have left: all but the newest whole checkpoints."""
        numbers, latest = self._numbers(), self._latest()
        self._remove([n for n in numbers if n > latest] + [n for n in numbers if n <= latest][:-_NUM_KEPT])

    def load(self, tag: str | None = None) -> Checkpoint | None:
        """Return the newest whole checkpoint (saved under `tag`, if given), or None where there is none.

        Warns where damaged ones were passed over; raises DamagedCheckpointError where no other is left.
        """
        latest = self._latest()
        damaged: list[DamagedCheckpointError] = []
        for number in reversed([n for n in self._numbers() if n <= latest]):
            try:
                checkpoint = _read(self._folder / str(number), tag)
            except DamagedCheckpointError as error:
                damaged.append(error)
                continue
            if checkpoint is not None:
                for problem in damaged:
                    warnings.warn(f"{problem} The checkpoint before it is used.", CmtWarning, stacklevel=2)
                return checkpoint
        if damaged:
            raise damaged[0]
        return None

    def tags(self) -> list[str]:
        """Return the tags of the checkpoints that are kept, the oldest first; damaged ones are left out."""
        found = []
        for number in [n for n in self._numbers() if n <= self._latest()]:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                record = json.loads((self._folder / str(number) / "state.json").read_text(encoding="utf-8"))
                found.append(str(record["tag"]))
        return found

    def clear(self) -> None:
        """Remove all checkpoints of the series."""
        if self._numbers():
            write_text(self._folder / "latest", "0\n")
            self._remove(self._numbers())

    def _remove(self, numbers: list[int]) -> None:
        for number in numbers:
            shutil.rmtree(self._folder / str(number))

    def _numbers(self) -> list[int]:
        if not self._folder.exists():
            return []
        return sorted(int(path.name) for path in self._folder.iterdir() if path.name.isdigit())

    def _latest(self) -> int:
        """Return the number in the pointer; without a readable one every complete checkpoint is a candidate."""
        pointer = self._folder / "latest"
        text = pointer.read_bytes().strip() if pointer.is_file() else b""
        if text.isdigit():
            return int(text)
        return max((n for n in self._numbers() if (self._folder / str(n) / "state.json").exists()), default=0)


def _read(folder: Path, wanted_tag: str | None) -> Checkpoint | None:
    """Return a checkpoint, or None for another tag, whose tensors are then not read."""
    try:
        record = json.loads((folder / "state.json").read_text())
        expected, tag, notes, values = (record[key] for key in ("sha256", "tag", "notes", "values"))
        own = _text_sha256({"tag": tag, "notes": notes, "values": values})
        if record.get("own_sha256", own) != own:  # of an older version it has none
            raise DamagedCheckpointError(f"'{folder}' is damaged: state.json is not the file that was saved.")
        if wanted_tag not in (None, tag):
            return None
        if file_sha256(folder / "state.safetensors") != expected:
            raise DamagedCheckpointError(f"'{folder}' is damaged: state.safetensors is not the file that was saved.")
        tensors = load_file(folder / "state.safetensors")
        return Checkpoint(str(tag), {**values, **tensors}, dict(notes))
    except DamagedCheckpointError:
        raise
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpointError(f"'{folder}' is damaged ({type(error).__name__}: {error}).") from error
    except SafetensorError as error:
        refused = from_library(error, folder / "state.safetensors")
        if isinstance(refused, OSError):  # the system's refusal says nothing about the file
            raise refused from error
        raise DamagedCheckpointError(f"'{folder}' is damaged ({error}).") from error


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    with writing(path):
        try:
            save_file(tensors, path)
        except SafetensorError as error:
            raise from_library(error, path) from error
        sync(path)


def _text_sha256(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()


def _separate_storages(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous CPU copies where needed; safetensors refuses tensors that share memory, as tied weights do."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        value = tensor.detach().to("cpu").contiguous()
        storage = value.untyped_storage()
        if value.numel() and (storage.data_ptr() in seen or storage.nbytes() != value.numel() * value.element_size()):
            value = value.clone(memory_format=torch.contiguous_format)
        seen.add(value.untyped_storage().data_ptr())
        separate[name] = value
    return separate


def _check_plain(value: Any, name: str) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"State '{name}' has the key {key!r}; JSON keeps only text keys.")
            _check_plain(inner, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            _check_plain(inner, f"{name}[{i}]")
    elif not isinstance(value, _JSON):
        raise TypeError(f"State '{name}' is a {type(value).__name__}; allowed are tensors and plain JSON values.")
