"""Signals as a request to stop at the next safe point."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from cmt_cli.core.exceptions import Interrupted

_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
_REQUEUE = (signal.SIGUSR1, signal.SIGUSR2)
_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)


class StoppedBySignal(Interrupted):
    """A run that a signal stopped after saving its state. `exit_code` is the shell's: 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int) -> None:
        """Carry the message for the user and the signal."""
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[type[StoppedBySignal], tuple[str, int]]:
        """Pickle both arguments: launchers of parallel sweeps send the exception back from their workers."""
        return type(self), (str(self), self.signal_number)


class StopSignals:
    """While entered, SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 only set `requested`; a second SIGINT interrupts at once.

    That holds where somebody else has a handler, too: a job launcher's, which requeues a preempted job and ends the
    process on the spot, would leave the state unsaved. It gets its signal by `hand_on` when the state has been saved.
    Ignored signals stay ignored. Outside the main thread, where Python allows no handlers, nothing is installed.
    """

    def __init__(self) -> None:
        """Install nothing yet."""
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Return whether a stop signal was received."""
        return self.received is not None

    def __enter__(self) -> StopSignals:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in _STOP:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: not installed from Python
                    self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore what was there."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if number == signal.SIGTERM and self.received in _REQUEUE:
            return  # a scheduler's last word after the warning that a launcher answers by requeueing
        self.received = number


def hand_on(number: int) -> None:
    """Give a signal that the run has answered to the handler that a job launcher installed for it, if any.

    A launcher's handler for preemption requeues the job and leaves the process by SystemExit. Schedulers may send their
    signal several times: while the handler works, further ones are ignored.
    """
    handler = signal.getsignal(number) if number else None
    if handler in (*_DEFAULTS, signal.SIG_IGN, None) or not callable(handler):
        return
    signal.signal(number, signal.SIG_IGN)
    handler(number, None)
    signal.signal(number, handler)
