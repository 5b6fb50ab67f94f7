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
Started = tuple[int, float | None]  # a process and the time at which it began a job


@contextmanager
def stopping(sweep: SweepFolder, *, is_detached: bool, seconds: float = 60.0) -> Iterator[None]:
    """Answer signals inside by StoppedBySignal, after the jobs that run on this host have had `seconds` to save.

    Jobs of a detached launcher (a scheduler's jobs) go on without this process. A second SIGINT does not wait.
    """

    def receive(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if not is_detached:
            sweep.stop()
            _wait_for_jobs(sweep, others, time.monotonic() + seconds)
        raise StoppedBySignal("The sweep was stopped", number)

    sweep.stop(False)
    others = _running(sweep)
    previous = {number: signal.signal(number, receive) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _wait_for_jobs(sweep: SweepFolder, others: set[Started], end: float) -> None:
    notified: set[int] = set()
    while time.monotonic() < end:
        pids = {pid for pid, _ in _running(sweep) - others}
        if not pids:
            return
        for pid in pids - notified:
            os.kill(pid, signal.SIGTERM)
        notified |= pids
        time.sleep(_POLL_SECONDS)


def _running(sweep: SweepFolder) -> set[Started]:
    """Return the processes of this host that run jobs, without this one, and when they began.

    A record that was there before this process handed anything out may be of a process that is gone, whose number
    another one has, or of somebody else.
    """
    records = [sweep.record(job) for job in sweep.plan().jobs]
    here = [r for r in records if r is not None and r.status == "running" and r.host == socket.gethostname()]
    return {(r.pid, r.started) for r in here if r.pid and 0 < r.pid != os.getpid() and is_alive(r.pid)}
