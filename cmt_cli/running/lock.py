"""One writer for a run folder, on one machine or on many that share a file system.

Three things decide, the first that can:

1. The kernel's lock on `.lock`. It ends with its process, however that ends. Over NFS 4 it holds across hosts.
2. Where that lock does not reach other hosts (or the file system has none, as Lustre mounted without `flock`), the
   holder's heartbeat: the file's modification time, renewed every 20 s by the file server's clock. Who finds a holder
   on another host watches the heartbeat: a beat refuses him, two minutes of silence hand the folder over.
3. Looking and writing one's name is one step: `.lock.claim`, made with O_EXCL, which file servers decide for all hosts.

A process that was frozen (a suspended job) and finds another name in the file when it wakes up has lost the folder:
`verify`, which every save calls, raises.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from cmt_cli.core.exceptions import UserError

HEARTBEAT_SECONDS = 20.0
SILENT_SECONDS = 120.0  # six beats; network file systems may show a time that is up to a minute old
_CLAIM_SECONDS = 30.0  # a claim takes milliseconds; an older one was left by a process that died in between
_POLL_SECONDS = 1.0
_NO_KERNEL_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)


class FolderInUseError(UserError):
    """Another process is writing the run folder."""


class RunLock:
    """Hold a run folder against a second writer, from `acquire` to `release` or the end of the process."""

    def __init__(self, folder: Path) -> None:
        """Guard `folder`, which must exist when the lock is taken."""
        self._path = folder / ".lock"
        self._handle: int | None = None
        self._me: dict[str, Any] = {}
        self._stop = threading.Event()

    def acquire(self) -> None:
        """Take the lock, also over from a dead process; raise FolderInUseError where a live one holds it."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            has_kernel_lock = _lock(handle)
            while not self._write_name(handle, self._dead_holder(has_kernel_lock)):
                pass
        except BlockingIOError:
            os.close(handle)
            raise FolderInUseError(self._refusal()) from None
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        self._stop.clear()
        threading.Thread(target=self._beat, daemon=True, name="run-lock").start()

    def release(self) -> None:
        """Give the lock back; the empty file stays, since removing it would race with the next holder."""
        if self._handle is None:
            return
        self._stop.set()
        if not self._is_lost():
            os.ftruncate(self._handle, 0)
        os.close(self._handle)
        self._handle = None

    def verify(self) -> None:
        """Raise FolderInUseError where another process has taken the folder while this one was frozen."""
        if self._handle is not None and self._is_lost():
            raise FolderInUseError(self._refusal())

    def __enter__(self) -> RunLock:
        """Take the lock."""
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        self.release()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            if not self._is_lost():
                os.utime(self._path)

    def _is_lost(self) -> bool:
        holder = read_holder(self._path)
        return bool(holder) and holder.get("token") != self._me["token"]

    def _dead_holder(self, has_kernel_lock: bool) -> dict[str, Any]:
        """Return the name in the file, empty for none; raise BlockingIOError where it is that of a live process."""
        holder = read_holder(self._path)
        if not holder:
            return holder
        if holder.get("host") == socket.gethostname() and (has_kernel_lock or not is_alive(int(holder.get("pid", 0)))):
            return holder
        last = self._path.stat().st_mtime_ns
        while silent_seconds(self._path) < SILENT_SECONDS:
            time.sleep(_POLL_SECONDS)
            if self._path.stat().st_mtime_ns != last:
                raise BlockingIOError
        return holder

    def _write_name(self, handle: int, expected: dict[str, Any]) -> bool:
        """Write this process' name unless the file names another than `expected` by now."""
        with _claim(self._path):
            if read_holder(self._path) != expected:
                return False
            self._me = {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "started": time.strftime("%Y-%m-%d %H:%M:%S"),
                "token": os.urandom(8).hex(),
            }
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(self._me).encode(), 0)
            os.fsync(handle)
        return True

    def _refusal(self) -> str:
        holder = read_holder(self._path)
        who = "Another process"
        if holder:
            who = f"Process {holder.get('pid')} on host '{holder.get('host')}' (started {holder.get('started')})"
        return (
            f"{who} is writing the run folder '{self._path.parent}'. A folder has one writer: wait until that run has "
            f"ended, stop it, or start a run with other settings. If that host is gone for good, remove '{self._path}'."
        )


def _lock(handle: int) -> bool:
    """Take the kernel's lock; return False where the file system has none, raise BlockingIOError where it is held."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno in _NO_KERNEL_LOCKS:
            return False
        raise
    return True


@contextmanager
def _claim(path: Path) -> Iterator[None]:
    """Be the only process, on any host, that looks at the holder and writes its own name."""
    claim = path.with_name(f"{path.name}.claim")
    while True:
        try:
            os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            break
        except FileExistsError:
            _give_way(claim)
    try:
        yield
    finally:
        claim.unlink(missing_ok=True)


def _give_way(claim: Path) -> None:
    """Wait a moment for another process' claim; remove one that was left behind."""
    try:
        if silent_seconds(claim) > _CLAIM_SECONDS:
            claim.unlink(missing_ok=True)
    except FileNotFoundError:
        return
    time.sleep(_POLL_SECONDS / 20)


def silent_seconds(path: Path) -> float:
    """Return how long ago a file was written or touched, by the clock of the file server, which all hosts share.

    Where the folder may not be written, this host's clock has to do.
    """
    probe = path.with_name(f".clock.{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}")
    try:
        probe.touch()
    except PermissionError:
        return time.time() - path.stat().st_mtime
    now = probe.stat().st_mtime
    probe.unlink(missing_ok=True)
    return now - path.stat().st_mtime


def is_alive(pid: int) -> bool:
    """Return whether a process of this host exists."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def read_holder(path: Path) -> dict[str, Any]:
    """Return who holds the lock; empty when nobody does or the file was torn while being written."""
    try:
        return dict(json.loads(path.read_text() or "{}"))
    except (json.JSONDecodeError, OSError):
        return {}


def holds(folder: Path) -> bool:
    """Return whether this process holds a folder."""
    holder = read_holder(folder / ".lock")
    return holder.get("pid") == os.getpid() and holder.get("host") == socket.gethostname()
