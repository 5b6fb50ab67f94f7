"""A stop by a signal, as the one who started the run gets to see it."""

from __future__ import annotations

import pickle
import signal

from cmt_cli.running.signals import StoppedBySignal


def test_the_exception_comes_back_whole_from_a_worker_process() -> None:
    stop = StoppedBySignal("stopped; continue with `cmt resume here`", signal.SIGTERM)
    back = pickle.loads(pickle.dumps(stop))
    assert type(back) is StoppedBySignal
    assert (str(back), back.signal_number, back.exit_code) == (str(stop), 15, 143)
