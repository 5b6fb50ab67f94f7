"""What is printed goes through `terminal/text.py` and `terminal/console.py`, which spell control characters."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "cmt_cli"
DOORS = {PACKAGE / "terminal" / "text.py", PACKAGE / "terminal" / "console.py"}
CALLS = {"print", "pprint", "echo", "secho", "Console", "get_console", "print_exception", "print_exc", "print_json"}
STREAMS = {"sys.stdout.write", "sys.stderr.write", "sys.stdout.writelines", "sys.stderr.writelines"}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path not in DOORS)


def past_the_doors(source: str) -> Iterator[str]:
    """Yield the calls that print, or make what prints, without spelling control characters."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        is_of_console = called.split(".")[-2:-1] in (["console"], ["_console"])
        if called in STREAMS or (called.split(".")[-1] in CALLS and not is_of_console):
            yield f"{node.lineno}: {ast.unparse(node)}"
        if called == "Progress" and "console" not in {word.arg for word in node.keywords}:
            yield f"{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nothing_is_printed_past_the_terminal(path: Path) -> None:
    assert list(past_the_doors(path.read_text(encoding="utf-8"))) == []


def test_calls_that_print_are_seen() -> None:
    for source in ("print(x)", "typer.echo(x)", "Console().print(x)", "sys.stderr.write(x)", "Progress()"):
        assert list(past_the_doors(source))
    for source in ("console.print(x)", "self._console.print(x)", "Progress(console=c)", "say(x)"):
        assert list(past_the_doors(source)) == []
