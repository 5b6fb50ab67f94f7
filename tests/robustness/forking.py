"""A process that has imported what a run needs and forks itself for each command, so that a start costs no import.

A forked command may meet a fault: SIGKILL just before its n-th operation on the file system below its folder, a moment
that can be repeated, or at a time from outside; a disk that is full or closed from that operation on; little memory.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

REPOSITORY = Path(__file__).resolve().parents[2]
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


Fault = Literal["kill", "full disk", "denied", "memory"]
_ERRORS = {"full disk": errno.ENOSPC, "denied": errno.EACCES}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a forked command ended: its exit code, negative for a signal, and how many operations it had counted."""

    code: int
    operations: int
    text: str


class Forks:
    """The parent of forked commands, one at a time; enter it for the time of its process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start the process, with `environment` beside the present one."""
        own = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.robustness.forking"],
            cwd=REPOSITORY,
            env={**os.environ, **own, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, words: Sequence[str], folder: Path, *, fault: tuple[Fault, int] | None = None) -> int:
        """Start `cmt` with `words` in `folder`; return its process id.

        `fault` is what befalls it and at which operation, counted from 1, or for "memory" the MiB that it may take.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([list(words), str(folder), fault or ("none", 0)]) + "\n")
        self._process.stdin.flush()
        return int(self._answer()["pid"])

    def ended(self) -> Ended:
        """Wait for the command that was started last."""
        return Ended(**self._answer())

    def run(
        self, words: Sequence[str], folder: Path, *, fault: tuple[Fault, int] | None = None, seconds: float = 300.0
    ) -> Ended:
        """Start a command and wait for it; kill it when it takes longer than `seconds`."""
        pid = self.start(words, folder, fault=fault)
        too_long = threading.Timer(seconds, os.kill, (pid, signal.SIGKILL))
        too_long.start()
        try:
            return self.ended()
        finally:
            too_long.cancel()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the parent of the forked commands has ended"
        return dict(json.loads(line))

    def __enter__(self) -> Forks:
        """Return this object."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def _serve() -> None:
    import torch
    import transformers  # noqa: F401

    import cmt_cli.commands.app
    import cmt_cli.models.huggingface
    import cmt_cli.running.stream_loop  # noqa: F401

    torch.set_num_threads(1)
    pid = 0
    for line in sys.stdin:
        if pid:
            os.waitpid(pid, 0)  # only here, so that nobody else has its id while it may still be killed
        words, folder, (fault, at) = json.loads(line)
        counted, text = os.pipe(), os.memfd_create("text")
        pid = os.fork()
        if pid == 0:
            _be_command(words, folder, (fault, at), counted[1], text)
        os.close(counted[1])
        print(json.dumps({"pid": pid}), flush=True)
        left = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert left is not None
        code = left.si_status if left.si_code == os.CLD_EXITED else -left.si_status
        with os.fdopen(counted[0]) as pipe:
            operations = int(pipe.read() or 0)
        with os.fdopen(text, "rb") as said:
            said.seek(0)
            shown = said.read().decode(errors="replace")
        print(json.dumps({"code": code, "operations": operations, "text": shown}), flush=True)


def _be_command(words: list[str], folder: str, fault: tuple[str, int], counted: int, text: int) -> None:
    from cmt_cli.commands import app

    os.chdir(folder)
    null = os.open(os.devnull, os.O_RDONLY)
    for own, standard in ((null, 0), (text, 1), (text, 2)):
        os.dup2(own, standard)
    count = _Count(folder, *fault)
    sys.addaudithook(count.watch)
    code = 1
    try:
        app.main(words)
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException as error:  # as the interpreter would
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(counted, str(count.number).encode())
        os._exit(code)


class _Count:
    """Count the operations that change what lies below a folder, and let the fault happen."""

    def __init__(self, folder: str, fault: str, at: int) -> None:
        self.number = 0
        self._folder, self._fault, self._at = folder, fault, at
        if fault == "memory":
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + at * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        is_change = event in _CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES)
        if not is_change or isinstance(arguments[0], int) or arguments[0] is None:
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if not path.startswith(self._folder):
            return
        self.number += 1
        if self._fault == "kill" and self.number == self._at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fault in _ERRORS and self.number >= self._at:
            raise OSError(_ERRORS[self._fault], os.strerror(_ERRORS[self._fault]), path)


if __name__ == "__main__":
    _serve()
