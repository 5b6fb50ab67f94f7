"""A signal to the process that hands out a sweep's jobs: the jobs save their states before it ends."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cmt_cli.core.atomic import is_alive
from cmt_cli.running.signals import StoppedBySignal
from cmt_cli.sweeps.folder import SweepFolder

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
_POLL_SECONDS = 0.2


@contextmanager
def stopping(sweep: SweepFolder, *, is_detached: bool, seconds: float = 60.0) -> Iterator[None]:
    """Answer signals inside by StoppedBySignal, after the jobs that run on this host have had `seconds` to save.

    Jobs of a detached launcher (a scheduler's jobs) go on without this process. A second SIGINT does not wait.
    """

    def receive(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if not is_detached:
            sweep.stop()
            _wait_for_jobs(sweep, time.monotonic() + seconds)
        raise StoppedBySignal("The sweep was stopped", number)

    sweep.stop(False)
    previous = {number: signal.signal(number, receive) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _wait_for_jobs(sweep: SweepFolder, end: float) -> None:
    notified: set[int] = set()
    while time.monotonic() < end:
        pids = _running(sweep)
        if not pids:
            return
        for pid in pids - notified:
            os.kill(pid, signal.SIGTERM)
        notified |= pids
        time.sleep(_POLL_SECONDS)


def _running(sweep: SweepFolder) -> set[int]:
    """Return the processes of this host that run jobs, without this one."""
    records = [sweep.record(job) for job in sweep.plan().jobs]
    here = [r for r in records if r is not None and r.status == "running" and r.host == socket.gethostname()]
    return {r.pid for r in here if r.pid is not None and r.pid != os.getpid() and is_alive(r.pid)}
