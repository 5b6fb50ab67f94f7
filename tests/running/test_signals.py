"""A stop by a signal, as the one who started the run gets to see it."""

from __future__ import annotations

import pickle
import signal
from collections.abc import Iterator

import pytest

from cmt_cli.running.signals import StoppedBySignal, StopSignals, hand_on


@pytest.fixture
def launcher_calls() -> Iterator[list[int]]:
    """The signals that a job launcher's own handler of SIGUSR2 has seen."""
    calls: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: calls.append(number))
    yield calls
    signal.signal(signal.SIGUSR2, before)


def test_a_launchers_handler_waits_until_the_state_is_saved(launcher_calls: list[int]) -> None:
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGUSR2)
        assert stop.requested and not launcher_calls
    assert stop.received is not None
    hand_on(stop.received)
    assert launcher_calls == [signal.SIGUSR2]


def test_repeated_signals_are_ignored_while_the_launcher_requeues() -> None:
    calls: list[int] = []

    def requeue(number: int, frame: object) -> None:
        calls.append(number)
        signal.raise_signal(number)

    before = signal.signal(signal.SIGUSR2, requeue)
    hand_on(signal.SIGUSR2)
    assert calls == [signal.SIGUSR2] and signal.getsignal(signal.SIGUSR2) is requeue
    signal.signal(signal.SIGUSR2, before)


def test_the_schedulers_last_word_does_not_replace_its_warning() -> None:
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGUSR2)
        signal.raise_signal(signal.SIGTERM)
    assert stop.received == signal.SIGUSR2


def test_signals_without_a_launchers_handler_are_not_handed_on() -> None:
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGUSR1)
    assert stop.received == signal.SIGUSR1
    hand_on(signal.SIGUSR1)  # its default would end this process
    hand_on(0)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGUSR1)
        assert not stop.requested
    signal.signal(signal.SIGUSR1, before)


def test_the_exception_comes_back_whole_from_a_worker_process() -> None:
    stop = StoppedBySignal("stopped; continue with `cmt resume here`", signal.SIGTERM)
    back = pickle.loads(pickle.dumps(stop))
    assert type(back) is StoppedBySignal
    assert (str(back), back.signal_number, back.exit_code) == (str(stop), 15, 143)
