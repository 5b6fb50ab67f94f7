"""Messages are wrapped where people read them and left whole where programs do."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import warnings
from pathlib import Path

import pytest

from cmt_cli.core.exceptions import CmtWarning
from cmt_cli.terminal.text import print_own_warnings, say, wrapped
from tests.command_line import SMALL, cmt

REPOSITORY = Path(__file__).parents[2]
FOLDER = "news-of-the-last-twenty-years-in-three-languages"


def on_a_terminal(width: int, *arguments: str) -> str:
    """Return what the command line prints on a terminal of `width` columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    command = [sys.executable, "-m", "cmt_cli", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment):
        os.close(theirs)
        printed = b""
        with contextlib.suppress(OSError):  # the end, when the other side is closed
            while part := os.read(ours, 4096):
                printed += part
    os.close(ours)
    return printed.decode().replace("\r\n", "\n")


def test_words_and_what_is_copied_stay_whole() -> None:
    text = "Run `cmt run method=ewc` or look into 'my data/a.csv', where a-long-word-of-40-characters-stands-alone."
    assert wrapped(text, 30, indent="  ").split("\n") == [
        "Run `cmt run method=ewc` or",
        "  look into 'my data/a.csv',",
        "  where",
        "  a-long-word-of-40-characters-stands-alone.",
    ]
    assert wrapped("Say `one two three` now", 12).split("\n") == ["Say", "`one two three`", "now"]  # longer than a line
    assert wrapped("Say 'one two three' now", 12).split("\n") == ["Say 'one two", "three' now"]
    assert wrapped("It isn't the methods' own.\n\nIt is not.", 16) == "It isn't the\nmethods' own.\n\nIt is not."


def test_a_pipe_gets_whole_lines_unless_columns_is_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    say("word " * 50 + "end", label="a label: ")
    assert capsys.readouterr().out == f"a label: {'word ' * 50}end\n"
    monkeypatch.setenv("COLUMNS", "40")
    say("word " * 12 + "end", label="a label: ")
    assert capsys.readouterr().out.splitlines() == [
        "a label: " + "word " * 5 + "word",
        " " * 9 + "word " * 5 + "word",
        " " * 9 + "end",
    ]


def test_an_error_is_wrapped_at_the_terminals_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = on_a_terminal(57, "run", "method=frozn").splitlines()
    assert lines[0] == "Error: method=frozn: there is no such method. Did you"
    assert len(lines) > 5 and max(map(len, lines)) <= 57
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    cmt("run", "method=frozn")
    assert capsys.readouterr().err == " ".join(lines) + "\n"


def words(text: str) -> list[str]:
    """Return the words of a text without the free space of a disk, which others may change."""
    return re.sub(r"[\d.]+ GiB free", "GiB free", text).split()


@pytest.mark.usefixtures("empty_folder")
@pytest.mark.parametrize(
    "arguments",
    [
        ("doctor",),
        ("data", "check", "streamingqa"),
        ("data", "check", "streamingqa", "--path", FOLDER),
        ("run", "--dry-run", "-m", "method=ewc,l2", *SMALL),
        ("metrics", "frozen"),
    ],
    ids=" ".join,
)
def test_messages_fit_80_columns_or_are_whole_in_pipes(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(FOLDER).mkdir()
    for name in ("train", "val", "test"):
        (Path(FOLDER) / f"{name}.csv").write_text("text,question,answers\nAnn lives in Bern.,,\n")
    if arguments[0] == "metrics":
        assert cmt("run", "method=frozen", *SMALL) == 0
    monkeypatch.setenv("COLUMNS", "80")
    capsys.readouterr()
    cmt(*arguments)
    narrow = capsys.readouterr()
    lines = (narrow.out + narrow.err).splitlines()
    long = [line.strip() for line in lines if len(line) > 80 and len(line.split()) > 1]
    assert [line for line in long if not (line.startswith("`") and line.rstrip(".,;").endswith("`"))] == []  # commands
    monkeypatch.delenv("COLUMNS")
    cmt(*arguments)
    whole = capsys.readouterr()
    assert words(whole.out + whole.err) == words(narrow.out + narrow.err)
    assert len((whole.out + whole.err).splitlines()) < len(lines)


def test_own_warnings_are_printed_once_as_messages(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *rest: print(f"shown by Python: {message}")
        print_own_warnings()
        print_own_warnings()
        for category in (CmtWarning, CmtWarning, UserWarning):
            warnings.warn("a file is damaged.", category, stacklevel=1)
    printed = capsys.readouterr()
    assert printed.err == "Warning: a file is damaged.\n"
    assert printed.out == "shown by Python: a file is damaged.\n"


@pytest.mark.usefixtures("empty_folder")
def test_a_command_prints_a_warning_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs/broken").mkdir(parents=True)
    Path("runs/broken/result.json").write_text("{")
    assert cmt("runs") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Warning: ") and "runs/broken" in line and "UserWarning" not in line


def test_every_warning_of_this_package_is_its_own() -> None:
    calls = [
        (path, node)
        for path in sorted((REPOSITORY / "cmt_cli").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn"
    ]
    assert len(calls) > 5
    others = [f"{path}:{call.lineno}" for path, call in calls if "CmtWarning" not in map(ast.unparse, call.args)]
    assert not others


LOADING = """
import sys
from cmt_cli.commands.app import main
try:
    main(["list", "models"])
except SystemExit:
    from tests.conftest import load_cpu
    load_cpu(sys.argv[1])
    from transformers.utils import logging
    print("bars" if logging.is_progress_bar_enabled() else "no bars")
"""


@pytest.mark.parametrize(("setting", "expected"), [(None, "no bars"), ("0", "bars")])
def test_weights_load_without_a_bar_in_a_pipe(
    setting: str | None, expected: str, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "HF_HUB_DISABLE_PROGRESS_BARS"
    environment = {key: value for key, value in os.environ.items() if key != name} | {"PYTHONPATH": str(REPOSITORY)}
    environment |= {} if setting is None else {name: setting}
    command = [sys.executable, "-c", LOADING, str(checkpoints["llama"])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.splitlines()[-1] == expected
    assert ("Loading weights" in done.stderr) == (expected == "bars")
