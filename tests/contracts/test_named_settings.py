"""A setting that a stream's messages name is a setting of that stream."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cmt_cli.commands.stream_files import settings_of
from cmt_cli.config import catalog, targets

NAMED = re.compile(r"(?<![\w/.])data\.((?:[a-z_]+\.)*[a-z_]+)(?=[=\s,;:)'\"{]|\.(?:\s|$)|$)")
NAMES = [option.name for option in catalog.options("data", [catalog.conf_dir()])]
SHARED = {  # modules whose messages are those of many streams, by settings that these have
    "cmt_cli.data.knowledge.knowledge_stream": {"selection", "num_tasks"},
    "cmt_cli.data.labelled.labelled_stream": {"limits"},
}


def literals(module: str) -> Iterator[str]:
    """Yield the texts of a module that are no docstrings."""
    file = sys.modules[module].__file__
    assert file is not None
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    texts = {
        node: node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            texts.pop(node.value, None)
    yield from texts.values()


def has(settings: Mapping[str, Any], key: str) -> bool:
    value: Any = settings
    for name in key.split("."):
        if not isinstance(value, Mapping):
            return value is None  # a mapping that the user may give
        if name not in value:
            return False
        value = value[name]
    return True


def named(module: str) -> set[str]:
    return {match[1] for text in literals(module) for match in NAMED.finditer(text)}


@pytest.mark.parametrize("name", NAMES)
def test_settings_that_messages_name_are_those_of_the_stream(name: str) -> None:
    settings = settings_of(name)
    own = targets.resolve(settings.data["_target_"], settings.trusted).__module__
    modules = [own, *(module for module, keys in SHARED.items() if keys <= {*settings.data} and module in sys.modules)]
    assert {(m, key) for m in modules for key in named(m) if not has(settings.data, key)} == set()


def test_the_check_sees_named_settings() -> None:
    assert "selection.max_test_documents" in named("cmt_cli.data.knowledge.knowledge_stream")
    assert not has({"selection": {"order": "file"}}, "selection.max_test_documents")
