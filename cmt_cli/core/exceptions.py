"""User-facing errors, and the words of their messages: nearest names, plurals, the end of a sentence.

An error is one readable paragraph, exit code 2, without a traceback unless --debug is given. What the system refuses (a
full disk, a place that may not be written, used up memory) is no mistake of this package: the user can mend its cause
and repeat the command. `told` is the one place that knows what it means; whatever writes a file lets it travel.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path


class UserError(ValueError):
    """Say what was given, what is allowed and what to do; the command line prints it and exits with code 2."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest of `allowed`, or an empty string where nothing is close."""
    matches = difflib.get_close_matches(name, list(allowed), n=1)
    return f" Did you mean '{matches[0]}'?" if matches else ""


class CmtWarning(UserWarning):
    """Something of this package that a user should know and that stops nothing; the command line prints its text."""


class Interrupted(RuntimeError):
    """A signal requested a stop; the latest state has been saved and the run can be continued."""


class NonFiniteLoss(RuntimeError):
    """A loss became NaN or infinite; the last good checkpoint is kept."""


class ProcessLost(RuntimeError):
    """Another process of the same run has ended or does not answer, so that this one cannot go on."""


def counted(number: int, thing: str) -> str:
    """Return a number with a regular noun, in the plural unless it is one."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def ended(sentence: str) -> str:
    """Return a sentence with one mark at its end: its own, or a full stop."""
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."


_SPACE = "Make room there, or choose another place"
_PLACES = "paths.runs=FOLDER is for run folders, CMT_CACHE=FOLDER for what is kept of data"
_FILES = "Close other programs, or allow more with `ulimit -n 4096`"
_MEANINGS = {
    errno.ENOSPC: ("there is no space left on the disk", _SPACE),
    errno.EDQUOT: ("your disk quota is used up", _SPACE),
    errno.EFBIG: ("the file would be larger than the system allows", "See `ulimit -f` and the limits of the disk"),
    errno.EROFS: ("the disk can only be read", f"Choose another place: {_PLACES}"),
    errno.EACCES: ("you may not read or write there", f"Change the permissions, or choose another place: {_PLACES}"),
    errno.EPERM: ("the system does not permit it", f"Change the permissions, or choose another place: {_PLACES}"),
    errno.EMFILE: ("this process has too many open files", _FILES),
    errno.ENFILE: ("the system has too many open files", _FILES),
    errno.EISDIR: ("a folder is where a file should be", "Move the folder away"),
    errno.ENOTDIR: ("a file is where a folder should be", "Move the file away, or name another folder"),
    errno.EEXIST: ("something else is there already", "Move it away"),
    errno.ENOTEMPTY: ("the folder holds files of others", "Move them away"),
    errno.ENOENT: ("it is not there", "Put it back where it was removed while the command ran, or name another place"),
    errno.ENAMETOOLONG: ("the name is too long", "Name a shorter place"),
    errno.ELOOP: ("links lead in a circle", "Remove the link"),
    errno.EIO: ("the disk has an input/output error", "Look at the system's log, and choose another disk"),
    errno.ESTALE: ("the file server has lost the file", "Mount the file system again"),
    errno.EBUSY: ("another program uses it", "Wait for it"),
    errno.ETXTBSY: ("another program executes it", "Wait for it"),
    errno.ENODEV: ("the file system cannot do it", f"Choose another place: {_PLACES}"),
    errno.EOPNOTSUPP: ("the file system cannot do it", f"Choose another place: {_PLACES}"),
    errno.ENOTCONN: ("the file server does not answer", "Mount the file system again"),
    errno.ETIMEDOUT: ("there was no answer in time", "Try again later"),
}
_KEPT = "Files are written whole or not at all: what was saved before is kept, and a repeated command goes on there."
_MEMORY = (
    "Memory ran out{where}. Give more (`ulimit -v`, the limit of the job or container), or need less: a smaller model, "
    f"fewer rows of a batch (trainer.task.batch_size, evaluator.batch_size). {_KEPT}"
)
# How torch, the loader of shared libraries and Python's threads say that there is no memory left for them.
_NO_MEMORY = re.compile(
    r"can(?:no|')t allocate memory|out of memory|bad_alloc|failed to map segment|can't start new thread",
    re.IGNORECASE,
)
_NO_HOME = re.compile("determine home directory")  # what pathlib says
_HOME = (
    "There is no home folder: HOME is not set, and this user has none. Set HOME to a folder that may be written, or "
    "name every place that begins with ~ anew: CMT_CACHE=FOLDER for what is kept of data, data.path=FOLDER, "
    "model.name_or_path=FOLDER."
)
_RUST_CODE = re.compile(r"\(os error (\d+)\)")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Let errors of the system that come up inside name `path`, as those of writing to an open file do not."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def from_library(error: Exception, path: Path) -> Exception:
    """Return the OSError that a library written in Rust has put into words, or the error as it is."""
    found = _RUST_CODE.search(str(error))
    if found is None:
        return error
    return OSError(int(found[1]), os.strerror(int(found[1])), str(path))


def told(error: BaseException) -> str | None:
    """Return one paragraph for what the system refused: what, where and what to do; None for any other error."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return _MEMORY.format(where="")
    if isinstance(error, RuntimeError | ImportError | OSError) and _NO_MEMORY.search(str(error)):
        return _MEMORY.format(where=f" ({str(error).strip().splitlines()[0]})")
    if isinstance(error, RuntimeError) and _NO_HOME.search(str(error)):
        return _HOME
    if not isinstance(error, OSError) or error.errno not in _MEANINGS:
        return None
    meaning, advice = _MEANINGS[error.errno]
    place = f"'{os.fsdecode(error.filename)}'" if isinstance(error.filename, str | bytes) else "A file"
    return f"{place} could not be read or written: {meaning} ({os.strerror(error.errno)}). {advice}. {_KEPT}"
