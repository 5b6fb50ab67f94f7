"""Control characters of runs, data, models and names never reach a terminal, and change no value for programs."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from cmt_cli.terminal import text as terminal
from cmt_cli.terminal.console import line, open_console
from cmt_cli.terminal.progress import ProgressDisplay
from tests.command_line import cmt
from tests.reporting.runs import write_run

HOSTILE = "\x1b]0;owned\x07 \x9b31m \u202eabc\u2066 \x08\x0b\r\x7f\u2028 \ud800 :smile: [bold]x[/]"
SPELLED = r"\x1b]0;owned\x07 \x9b31m \u202eabc\u2066 \x08\x0b\x0d\x7f\u2028 \ud800 :smile: [bold]x[/]"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def obeyed(text: str) -> list[str]:
    """Return what a terminal would obey in a text."""
    return [f"{match[0]!r} in {text[match.start() - 30 : match.end()]!r}" for match in OBEYED.finditer(text)]


def test_control_characters_are_spelled_and_text_is_unchanged() -> None:
    assert terminal.visible(HOSTILE) == SPELLED
    plain = "Zürich, 東京 и 🎉, עברית\u200f,\ttab\nline"
    assert terminal.visible(plain) == plain
    assert terminal.in_line("a\tb\nc") == r"a\x09b\x0ac"


def test_json_holds_the_same_value_without_control_characters() -> None:
    value = {HOSTILE: [HOSTILE, "\x00\n\t", "東京"]}
    text = terminal.json_text(value, indent=2)
    assert json.loads(text) == value and not obeyed(text) and "東京" in text


@pytest.fixture
def console_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], str]:
    monkeypatch.setenv("COLUMNS", "200")

    def printed(thing: Any) -> str:
        open_console().print(thing)
        return capsys.readouterr().out

    return printed


def test_a_console_spells_strings_tables_and_texts(console_text: Callable[[Any], str]) -> None:
    table = Table("name", HOSTILE, box=None)
    table.add_row(HOSTILE, Text(HOSTILE))
    shown = {"string": HOSTILE, "line": line(HOSTILE), "table": table, "text": Text(HOSTILE)}
    for name, text in {name: console_text(thing) for name, thing in shown.items()}.items():
        assert not obeyed(text), name
    assert console_text(HOSTILE).rstrip("\n") == console_text(line(HOSTILE)).rstrip("\n") == SPELLED
    assert console_text(table).count(SPELLED) == 2  # `rich` itself drops some from a Text


def test_colors_of_our_own_still_reach_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    file = io.StringIO()
    console = open_console()
    console.file = file
    console.print(line("red\x1b[0m", "red"))
    assert file.getvalue() == "\x1b[31mred\\x1b[0m\x1b[0m\n"
    with Progress(console=console) as bars:
        bars.add_task("\x1b]0;owned\x07 bar")
    assert "\x1b]" not in file.getvalue() and r"\x1b]0;owned" in file.getvalue()


def test_progress_lines_and_bars_are_spelled(capsys: pytest.CaptureFixture[str]) -> None:
    display = ProgressDisplay(open_console(stderr=True))
    display(f"reading {HOSTILE}", 1, 2)
    display.close()
    told = capsys.readouterr().err
    assert SPELLED in told and not obeyed(told)


@pytest.fixture
def plain_logging() -> Iterator[None]:
    kept = logging.getLogRecordFactory(), warnings.showwarning
    yield
    logging.setLogRecordFactory(kept[0])
    warnings.showwarning = kept[1]


@pytest.mark.usefixtures("plain_logging")
def test_logs_and_warnings_of_libraries_are_spelled(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.spell_controls_in_logs()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    log = logging.getLogger("a library")
    log.addHandler(handler)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("failed: %s", HOSTILE)
    log.removeHandler(handler)
    assert SPELLED in stream.getvalue() and not obeyed(stream.getvalue())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *rest: print(message, file=sys.stderr)
        terminal.print_own_warnings()
        warnings.warn(HOSTILE, UserWarning, stacklevel=1)
    told = capsys.readouterr().err
    assert SPELLED in told and not obeyed(told)


def hostile_run(folder: Path) -> Path:
    """Write a run whose every name, note and answer holds control characters."""
    write_run(folder, "toy", answer=lambda *_: (HOSTILE, 0.0), settings={"name": HOSTILE.replace("\ud800", "")})
    record = json.loads((folder / "result.json").read_text())

    def spoiled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: spoiled(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [spoiled(inner) for inner in value]
        return f"{value}{HOSTILE}" if isinstance(value, str) else value

    kept = {key: record[key] for key in ("status", "split", "primary_metric", "config_hash") if key in record}
    spoilt = {**spoiled(record), **kept}
    spoilt["data"] |= {"source": "generated", "sha256": {HOSTILE: "ab" * 32}}
    (folder / "result.json").write_text(json.dumps(spoilt))
    return folder


@pytest.mark.usefixtures("empty_folder", "plain_logging")
@pytest.mark.parametrize("status", ["complete", "failed"])
def test_commands_print_no_control_character_of_a_run(status: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = hostile_run(Path("runs") / "a\x1b]0;owned\x07b\u202ec")
    record = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**record, "status": status, "error": HOSTILE}))
    commands = [("show", str(folder)), ("runs",), ("runs", "--json"), ("metrics", str(folder)), ("compare",)]
    commands += [("compare", "--format", form) for form in ("markdown", "latex", "csv", "json")]
    commands += [("report", "runs"), ("sweep", "status")]
    commands += [("wandb", "sync", "--dry-run"), ("metrics", str(folder), "--add", "f1")]
    for command in commands:
        cmt(*command)
        printed = capsys.readouterr()
        assert not obeyed(printed.out) and not obeyed(printed.err), command
        if command == ("runs", "--json"):
            assert json.loads(printed.out)[0]["method"] == record["method"]


@pytest.mark.usefixtures("empty_folder", "plain_logging")
def test_messages_about_files_and_settings_are_spelled(capsys: pytest.CaptureFixture[str]) -> None:
    odd = Path("data\x1b[2J\u202e")
    odd.mkdir()
    for name in ("train", "val", "test"):
        (odd / f"{name}.csv").write_text(f"text,question,answers,{HOSTILE!r}\x1b\nonly\x1b[1m,one\n", encoding="utf-8")
    (odd / "documents.jsonl").write_text('{"id": "\\u001b[31m", "text": 3, "date": "\\u001b[31m"}\n')
    (odd / "questions.jsonl").write_text('{"id": "\\u001b[31m", "question": 3, "document_id": "\\u202e"}\n')
    more = odd / "data"
    more.mkdir()
    (more / "odd\x1b[31m.yaml").write_text("# about: \u202e\x9b\n_target_: nothing\n", encoding="utf-8")
    for command in (
        ("data", "check", "streamingqa", "--path", str(odd)),
        ("data", "check", "documents", "--path", str(odd)),
        ("data", "check", "squad", "--path", str(odd / "absent")),
        ("run", f"data.path={odd}"),
        ("run", "method=\x1b[31m"),
        ("run", "model=tiny\u202e"),
        ("list", "data", "--config-dir", str(odd)),
        ("list", "data", "odd\x1b[31m", "--config-dir", str(odd)),
        ("list", "matrix", "--config-dir", str(odd)),
        ("show", "absent\x1b[31m"),
        ("compare", "absent\x1b[31m"),
    ):
        cmt(*command)
        printed = capsys.readouterr()
        assert printed.out + printed.err
        assert not obeyed(printed.out) and not obeyed(printed.err), command
