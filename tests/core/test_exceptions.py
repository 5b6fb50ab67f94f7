"""Messages have one mark at their end and no plural of one; no literal doubles a word or a mark."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import cmt_cli
from cmt_cli.core.exceptions import counted, ended
from cmt_cli.data.files.problems import Problem, ProblemError

PACKAGE = Path(cmt_cli.__file__).parent
FAULTS = re.compile(
    r"\b([A-Za-z]{2,}) \1\b|(?<!\.)\.\.(?=[ \n]|$)|[;:,]\.(?=\s|$)|(?<!\.)\.[;,](?=\s|$)|[a-z] [,;.](?=\s|$)"
)


def messages(path: Path) -> Iterator[str]:
    """Yield the texts of errors and notes of a module, a field in braces as one letter."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    for call in calls:
        name = ast.unparse(call.func)
        if name.endswith(("Error", "Problem", "problem", "noted")):
            for argument in call.args:
                if isinstance(argument, ast.JoinedStr):
                    yield "".join(str(p.value) if isinstance(p, ast.Constant) else "\u00b7" for p in argument.values)
                elif isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value


def test_no_message_doubles_a_word_or_a_mark() -> None:
    found = [(path.name, text) for path in sorted(PACKAGE.rglob("*.py")) for text in messages(path)]
    assert len(found) > 300
    assert [(name, text) for name, text in found if FAULTS.search(text)] == []


def test_one_thing_is_no_plural() -> None:
    assert [counted(number, "row") for number in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]


@pytest.mark.parametrize(
    ("text", "whole"), [("is empty", "is empty."), ("there are 'a'.", "there are 'a'."), ("b?", "b?")]
)
def test_a_sentence_has_one_mark_at_its_end(text: str, whole: str) -> None:
    assert ended(text) == whole


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_list_of_problems_has_no_doubled_marks(number: int) -> None:
    problems = [Problem(Path("a.csv"), 1, "the column 'b' is missing; there are 'a'.")] * number
    assert not re.search(r"\.[.;]|\?\.", str(ProblemError(problems, name="squad", path=Path("a"))))
