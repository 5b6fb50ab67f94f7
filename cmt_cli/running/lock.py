"""One writer for a run folder, on one machine or on many that share a file system.

Three things decide, the first that can:

1. The kernel's lock on `.lock`. It ends with its process, however that ends. Over NFS 4 it holds across hosts.
2. Where that lock does not reach other hosts (or the file system has none, as Lustre mounted without `flock`), the
   holder's heartbeat: the file's modification time, renewed every 20 s by the file server's clock. Who finds a holder
   on another host watches the heartbeat: a beat refuses him, two minutes of silence hand the folder over.
3. Looking and writing one's name is one step: `.lock.claim`, made with O_EXCL, which file servers decide for all hosts.
   It takes milliseconds. One that was left by a process that died in between is taken away: at once where it names this
   host, of which the kernel's lock or the process table tells; after a second where it names another or none. Who took
   one away, or finds his own gone, may have met a slow process, not a dead one: he waits longer than such a process
   has for its last step (it looks at its claim right before it writes), and holds the folder only if his name is still
   in the file then.

A process that was frozen (a suspended job) and finds another name in the file when it wakes up has lost the folder:
`verify`, which every save calls, raises.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from cmt_cli.core.atomic import is_alive, owner
from cmt_cli.core.exceptions import UserError, writing

HEARTBEAT_SECONDS = 20.0
SILENT_SECONDS = 120.0  # six beats; network file systems may show a time that is up to a minute old
_CLAIM_SECONDS = 1.0  # age of a claim, of another host or without a name, that counts as left behind
_SETTLE_SECONDS = 0.5  # between looking at one's claim and having written one's name lie two system calls
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
            if os.fstat(handle).st_nlink > 1:
                raise UserError(f"'{self._path}' is a hard link: another file would be written with it. Remove it.")
            has_kernel_lock = _lock(handle)
            while not self._write_name(handle, self._dead_holder(has_kernel_lock), has_kernel_lock):
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
            with contextlib.suppress(OSError):  # a beat that fails is one that others do not see
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
        if holder.get("host") == socket.gethostname() and (has_kernel_lock or not is_alive(holder["pid"])):
            return holder
        last = self._path.stat().st_mtime_ns
        # A time to come, of a clock that was moved or of a copy, says nothing: then the next beats are waited for.
        end = time.monotonic() + SILENT_SECONDS - max(0.0, silent_seconds(self._path))
        while time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
            if self._path.stat().st_mtime_ns != last:
                raise BlockingIOError
        return holder

    def _write_name(self, handle: int, expected: dict[str, Any], has_kernel_lock: bool) -> bool:
        """Write this process' name unless the file names another than `expected` by now."""
        me = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": time.strftime("%Y-%m-%d %H:%M:%S"),
            "token": os.urandom(8).hex(),
        }
        claim = Claim(self._path, me)
        claim.make(has_kernel_lock)
        try:
            if read_holder(self._path) != expected or not claim.is_mine():
                return False
            with writing(self._path):
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps(me).encode(), 0)
                os.fsync(handle)
            self._me = me
            if claim.is_disputed or not claim.is_mine():
                time.sleep(_SETTLE_SECONDS)
                return not self._is_lost()
        finally:
            claim.remove()
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


class Claim:
    """The right to look at the holder and to write one's own name, of one process on all hosts at a time."""

    def __init__(self, lock: Path, me: dict[str, Any]) -> None:
        """Claim for `me`, who need not hold the lock yet."""
        self._path = lock.with_name(f"{lock.name}.claim")
        self._me = me
        self.is_disputed = False  # whether another's claim, without proof that its process is dead, was taken away

    def make(self, has_kernel_lock: bool) -> None:
        """Wait for the claims of others and make one's own."""
        while True:
            try:
                handle = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                if not self._take_away(has_kernel_lock):
                    time.sleep(_POLL_SECONDS / 20)
                continue
            try:
                with writing(self._path):
                    os.write(handle, json.dumps(self._me).encode())
            except BaseException:
                self._path.unlink(missing_ok=True)
                raise
            finally:
                os.close(handle)
            return

    def is_mine(self) -> bool:
        """Return whether nobody has taken the claim away."""
        return read_holder(self._path) == self._me

    def remove(self) -> None:
        """Give the claim back."""
        if self.is_mine():
            self._path.unlink(missing_ok=True)

    def _take_away(self, has_kernel_lock: bool) -> bool:
        """Remove the claim that is there if its process is dead, or too slow to tell; return whether it is gone."""
        claimant = read_holder(self._path)
        is_here = claimant.get("host") == socket.gethostname()
        if is_here and not has_kernel_lock and is_alive(claimant["pid"]):
            return False
        try:
            # A process of this host cannot claim while this one has the kernel's lock: that claim is a dead one's.
            if not is_here and abs(silent_seconds(self._path)) < _CLAIM_SECONDS:
                return False
            aside = self._path.with_name(f"{self._path.name}.{self._me['token']}")
            os.rename(self._path, aside)  # one of several that take it away does, the others find it gone
        except FileNotFoundError:
            return True
        if read_holder(aside) != claimant:  # a new one, made since: give it back, unless there is another by now
            self.is_disputed = True
            with contextlib.suppress(OSError):
                os.link(aside, self._path)
        self.is_disputed = self.is_disputed or not is_here
        aside.unlink(missing_ok=True)
        return True


def silent_seconds(path: Path) -> float:
    """Return how long ago a file was written or touched, by the clock of the file server, which all hosts share.

    It is below 0 where a clock was moved back, or another one was ahead. Where the folder may not be written, this
    host's clock has to do.
    """
    probe = path.with_name(f".clock.{owner()}.{threading.get_ident()}")
    try:
        probe.touch()
        now = probe.stat().st_mtime
    except OSError:  # the folder may not be written, or the disk is full
        now = time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return now - path.stat().st_mtime


def read_holder(path: Path) -> dict[str, Any]:
    """Return who holds the lock: `pid`, `host` and more; empty where nobody does, or the file is torn or garbage."""
    try:
        found = json.loads(path.read_bytes() or b"{}")
    except (ValueError, RecursionError, OSError):
        return {}
    if not isinstance(found, dict) or not isinstance(found.get("host"), str):
        return {}
    pid = found.get("pid")
    return found if isinstance(pid, int) and pid > 0 else {}


def holds(folder: Path) -> bool:
    """Return whether this process holds a folder."""
    holder = read_holder(folder / ".lock")
    return holder.get("pid") == os.getpid() and holder.get("host") == socket.gethostname()
