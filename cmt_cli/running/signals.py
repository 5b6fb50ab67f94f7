"""Signals as a request to stop at the next safe point."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from cmt_cli.core.exceptions import Interrupted
from cmt_cli.terminal.text import leave_lost_terminal

_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_REQUEUE = (signal.SIGUSR1, signal.SIGUSR2)
_REPEAT = "Nothing was left half done: repeat the command."
NOTHING_STARTED = "Nothing was started: repeat the command."
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


class StoppedAtOnce(SystemExit):
    """A command that a signal stopped where it had nothing to save.

    It is no Exception, so that no library takes it for an error of its own while it is imported. The text is for the
    user, and `code` the shell's: 128 + the signal's number.
    """

    def __init__(self, signal_number: int) -> None:
        """Name the signal."""
        super().__init__(128 + signal_number)
        self.signal_number = signal_number
        self.advice = _REPEAT

    def __str__(self) -> str:
        """Return what the user is told."""
        return f"Stopped by {signal.Signals(self.signal_number).name}. {self.advice}"


class StopAtOnce:
    """While entered, the signals that ask for a stop raise StoppedAtOnce, also inside imports and waits.

    `StopSignals`, which a run enters once there is a state to save, takes their place. Signals that are ignored, as
    SIGHUP is under nohup, stay so.
    """

    received: int | None = None  # the last one; where code of a library has swallowed the exception, the run sees it

    def __init__(self) -> None:
        """Install nothing yet."""
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopAtOnce:
        """Install the handlers."""
        self._previous = _installed(self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore what was there."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        StopAtOnce.received = None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        leave_lost_terminal()
        StopAtOnce.received = number
        raise StoppedAtOnce(number)


@contextmanager
def stop_means(advice: str) -> Iterator[None]:
    """Let a stop at once inside tell the user this, unless more is known where it came up.

    An error after a signal is a stop, too: libraries turn what interrupts their imports into errors of their own.
    """
    try:
        yield
    except StoppedAtOnce as stop:
        if stop.advice == _REPEAT:
            stop.advice = advice
        raise
    except Interrupted:
        raise
    except Exception as error:
        if StopAtOnce.received is None:
            raise
        late = StoppedAtOnce(StopAtOnce.received)
        late.advice = advice
        raise late from error


def _installed(receive: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Install a handler for the signals that ask for a stop; return what was there before.

    Ignored ones are left alone. Outside the main thread, where Python allows no handlers, nothing is installed.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    numbers = [n for n in _STOP if signal.getsignal(n) not in (signal.SIG_IGN, None)]  # None: not from Python
    return {number: signal.signal(number, receive) for number in numbers}


class StopSignals:
    """While entered, signals that ask for a stop only set `requested`; a second SIGINT interrupts at once.

    That holds where somebody else has a handler, too: a job launcher's, which requeues a preempted job and ends the
    process on the spot, would leave the state unsaved. It gets its signal by `hand_on` when the state has been saved.
    Ignored signals stay ignored.
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
        self._previous = _installed(self._receive)
        self.received = StopAtOnce.received
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore what was there."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        leave_lost_terminal()
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
