"""Commands do their work where the shell has closed their output, and no file takes the place of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

OPENS = """
import os
from cmt_cli.__main__ import main
try:
    main()
finally:
    os._exit(0 if os.open(os.devnull, os.O_RDONLY) > 2 else 9)
"""


@pytest.mark.parametrize("closed", ["", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("words", "code"), [("list data", 0), ("list nothing", 2)])
def test_a_closed_stream_changes_no_exit_code(closed: str, words: str, code: int) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"$0" -m cmt_cli {words} {closed}', sys.executable], capture_output=True, check=False
    )
    assert done.returncode == code
    assert b"Traceback" not in done.stderr and b"NoneType" not in done.stderr


def test_files_do_not_take_a_closed_streams_place() -> None:
    script = f"\"$0\" -c '{OPENS}' list data >&- 2>&-"
    assert subprocess.run(["bash", "-c", script, sys.executable], check=False).returncode == 0
