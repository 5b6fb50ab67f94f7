"""A disk that is full from the n-th write on, for this process and below one folder."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError
from safetensors.torch import save_file


class FullDisk:
    """Counts what needs room (files and folders that are made, content that is written) and refuses it from `first`."""

    def __init__(self, folder: Path, first: int, number: int = errno.ENOSPC) -> None:
        self._folder = os.path.realpath(folder)
        self._first = first
        self._errno = number
        self.num_writes = 0

    def is_full(self, path: Any) -> bool:
        if not isinstance(path, str | os.PathLike) or not os.path.realpath(path).startswith(self._folder):
            return False
        self.num_writes += 1
        return self.num_writes >= self._first

    def refuse(self, path: Any = None) -> OSError:
        return OSError(self._errno, os.strerror(self._errno), *([] if path is None else [os.fspath(path)]))

    def open(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            writes = any(letter in mode for letter in "wax+")
            if writes and self.is_full(file):
                raise self.refuse(file)  # no room for the file's name
            made = real(file, mode, *rest, **options)
            if writes and self.is_full(file):
                made.write("torn" if "b" not in mode else b"torn")  # part of the content, then the disk is full
                made.close()
                raise self.refuse()
            return made

        return opened

    def call(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def called(path: Any, *rest: Any, **options: Any) -> Any:
            if self.is_full(path):
                raise self.refuse(path)
            return real(path, *rest, **options)

        return called

    def save_file(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def saved(tensors: Any, path: Path) -> None:
            if self.is_full(path):
                path.write_bytes(b"torn")
                text = f"I/O error: {os.strerror(self._errno)} (os error {self._errno})"
                raise SafetensorError(f"Error while serializing: {text}")
            real(tensors, path)

        return saved


@contextmanager
def full_disk(folder: Path, first: int, number: int = errno.ENOSPC) -> Iterator[FullDisk]:
    """Let every write below `folder` fail from number `first` on, counted from 1."""
    disk = FullDisk(folder, first, number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cmt_cli.running.checkpoint.save_file", disk.save_file(save_file))
        patch.setattr(io, "open", disk.open(io.open))
        for name in ("mkdir", "replace"):
            patch.setattr(os, name, disk.call(getattr(os, name)))
        yield disk
