"""Messages count as people do: one run, two runs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "cmt_cli"
COUNT = re.compile(r"len\(.*\)|(.*\.)?num_\w+|(.*\.)?\w+\['num_\w+'\]|count")
PLURAL = re.compile(r" (?:[a-z]+ )?[a-z]+[^s]s\b")
NO_NOUN = re.compile(r" (is|has|was|does|needs|gives|leaves)\b")


def counts_in(path: Path) -> Iterator[str]:
    """Yield the places in a file's f-strings where a number of things is followed by a plural as it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            for value, text in zip(node.values, node.values[1:], strict=False):
                # A number with a format is written with its thousands apart: it is large.
                if isinstance(value, ast.FormattedValue) and isinstance(text, ast.Constant) and not value.format_spec:
                    number, words = ast.unparse(value.value), str(text.value)
                    if COUNT.fullmatch(number) and PLURAL.match(words) and not NO_NOUN.match(words):
                        yield f"{path}:{value.lineno} {{{number}}}{words[:30]}"


def test_plurals_are_found(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text(
        'print(f"{len(x)} runs wait, {len(x)} is it, {self.num_rows} long rows, {name} rows, {len(x)} to do")'
    )
    assert [found.split(" ", 1)[1] for found in counts_in(file)] == [
        "{len(x)} runs wait, ",
        "{self.num_rows} long rows, ",
    ]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_plural_stands_beside_a_bare_count(path: Path) -> None:
    assert list(counts_in(path)) == []
