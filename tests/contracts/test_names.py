"""A test's name states the property that it tests, in under ten words."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]
MAX_WORDS = 9  # after `test`


def test_names_of_tests_have_under_ten_words() -> None:
    functions = [
        (path, node)
        for path in sorted(TESTS.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    assert len(functions) > 1000
    long = [f"{path}:{node.lineno} {node.name}" for path, node in functions if node.name.count("_") > MAX_WORDS]
    assert not long, "\n".join(long)
