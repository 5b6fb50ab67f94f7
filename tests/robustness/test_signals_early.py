"""A signal before the loop, while libraries, data or the model are loaded or a lock is awaited, is a stop, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.models import embedded
from cmt_cli.running import lock
from cmt_cli.running.job import Job
from cmt_cli.running.signals import StopAtOnce, StoppedAtOnce, StopSignals, stop_means
from cmt_cli.terminal.text import leave_lost_terminal
from tests.command_line import SMALL, cmt

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


@pytest.fixture(autouse=True)
def no_hangup(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start with the usual answer to SIGHUP, which whoever started the tests may ignore."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def sending(number: int) -> Callable[..., None]:
    def send(*arguments: object, **options: object) -> None:
        signal.raise_signal(number)

    return send


ROOT = str(Path(__file__).parents[2])


@pytest.fixture(autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """Take SIGINT as a command in a terminal does: a shell starts commands in the background with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", STOPS)
def test_a_stop_while_the_stream_is_built_starts_nothing(
    number: int, empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Job, "stream", sending(number))
    assert cmt("run", *SMALL, "method=bm25") == 128 + number
    name = signal.Signals(number).name
    assert capsys.readouterr().err == f"Stopped by {name}. Nothing was started: repeat the command.\n"
    assert not (empty_folder / "runs").exists()


def test_a_stop_while_the_model_loads_can_be_resumed(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "reading_weights", sending(signal.SIGTERM))
        assert cmt("run", *SMALL, "method=bm25") == 143
    (folder,) = Path("runs").iterdir()
    assert capsys.readouterr().err.endswith(f"Stopped by SIGTERM. Repeat the command or `cmt resume {folder}`.\n")
    assert cmt("show", str(folder)) == 2 and "no result.json yet" in capsys.readouterr().err
    assert cmt("resume", str(folder)) == 0


def test_a_stop_is_no_error_that_libraries_may_answer() -> None:
    with StopAtOnce(), pytest.raises(StoppedAtOnce) as stop:
        try:
            signal.raise_signal(signal.SIGTERM)
        except Exception:  # as libraries do around optional imports
            pytest.fail("a library has swallowed the stop")
    assert stop.value.code == 143


def test_a_run_sees_the_stop_that_a_library_swallowed() -> None:
    with StopAtOnce():
        with pytest.raises(StoppedAtOnce):
            signal.raise_signal(signal.SIGTERM)
        with StopSignals() as signals:
            assert signals.requested and signals.received == signal.SIGTERM
    with StopSignals() as signals:
        assert not signals.requested


def test_a_librarys_error_after_a_signal_is_a_stop() -> None:
    with pytest.raises(StoppedAtOnce) as stopped, StopAtOnce(), stop_means("Do this."):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException:
            raise UserError("The model cannot be loaded.") from None
    assert str(stopped.value) == "Stopped by SIGINT. Do this."
    with pytest.raises(UserError), StopAtOnce(), stop_means("Do this."):
        raise UserError("Another mistake.")


def test_the_innermost_advice_is_told() -> None:
    with pytest.raises(StoppedAtOnce, match="resume this"), stop_means("outer"), stop_means("resume this"):
        raise StoppedAtOnce(signal.SIGTERM)


def test_a_wait_for_the_lock_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".lock").write_text('{"pid": 1, "host": "elsewhere", "token": "theirs", "started": "then"}')
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    began = time.monotonic()
    with StopAtOnce(), pytest.raises(StoppedAtOnce):
        lock.RunLock(tmp_path).acquire()
    assert time.monotonic() - began < 5
    assert lock.read_holder(tmp_path / ".lock")["host"] == "elsewhere" and not (tmp_path / ".lock.claim").exists()


def test_hangup_stops_a_run_and_nohup_keeps_it() -> None:
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGHUP)
        assert signals.received == signal.SIGHUP
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGHUP)
        assert not signals.requested


def test_output_goes_nowhere_when_the_terminal_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        leave_lost_terminal()
        assert terminal.isatty()
        os.close(ours)
        leave_lost_terminal()
        print("the run goes on", flush=True)
        assert not terminal.isatty()


def test_a_second_stop_does_not_cut_the_record_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cmt_cli.running.run_files import read_result
    from cmt_cli.running.signals import StoppedBySignal
    from cmt_cli.running.store import RunStore
    from tests.running.toy import ToyTrainer, run_toy

    write = RunStore.write_result

    def slow(store: RunStore, *record: object, **options: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        write(store, *record, **options)  # type: ignore[arg-type]

    def stop(step: int) -> None:
        monkeypatch.setattr(RunStore, "write_result", slow)
        signal.raise_signal(signal.SIGTERM)

    with StopAtOnce(), pytest.raises(StoppedBySignal, match="cmt resume"):
        run_toy(tmp_path, trainer=ToyTrainer(on_step=stop))
    result = read_result(tmp_path)
    assert result is not None and result.status == "interrupted"


IMPORT = """
import builtins, signal
from cmt_cli import __main__
real = builtins.__import__
def importing(name, *rest):
    if name == "cmt_cli.commands":
        signal.raise_signal({number})
    return real(name, *rest)
builtins.__import__ = importing
__main__.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_cmt_is_imported_stops_it(number: signal.Signals) -> None:
    command = [sys.executable, "-c", IMPORT.format(number=int(number))]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ROOT})
    assert done.returncode == 128 + number
    assert done.stderr == f"Stopped by {number.name}. Nothing was started: repeat the command.\n"
