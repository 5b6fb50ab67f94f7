"""The command `cmt`, also as `python -m cmt_cli`: a signal while the command line itself is imported is a stop, too."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)


def main() -> None:
    """Run the command line and exit; the console script."""
    _open_closed()
    before = {number: signal.getsignal(number) for number in _STOP}
    for number, handler in before.items():
        if handler in _DEFAULTS:  # ignored ones stay so, as SIGHUP under nohup
            signal.signal(number, _leave)
    from cmt_cli.commands import app

    for number, handler in before.items():
        signal.signal(number, handler)
    app.main()


def _open_closed() -> None:
    """Open to nowhere what the shell has closed (`cmt list >&-`), lest a file of ours takes its number and its text."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _leave(number: int, frame: FrameType | None) -> None:
    text = f"Stopped by {signal.Signals(number).name}. Nothing was started: repeat the command.\n"
    os.write(2, text.encode())  # a stream may be in the middle of a write
    # SystemExit is no Exception, which a library could take for an error of its own import.
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
