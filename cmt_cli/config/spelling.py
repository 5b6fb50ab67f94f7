r"""Reads one value the same however it was spelled: as yaml writes it, or as Hydra's command line hands it on.

Hydra's grammar knows neither the escapes of yaml's quotation marks, so that `stop_text="\n"` arrives as a backslash and
an n, nor yaml's `.inf`. Both spellings are taken here, before a run is hashed: they name one run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NUMBERS = {".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}
ESCAPES = {"\\n": "\n", "\\t": "\t"}
# Settings that are text of a prompt, an answer or a table.
TEXTS = ("stop_text", "system_text", "separator", "marker", "delimiter")
TEMPLATES = "template"  # ends the names of settings that are prompts with fields


def read(tree: Any, key: str = "") -> Any:
    """Return plain settings with yaml's spellings read wherever the command line left them as text."""
    if isinstance(tree, Mapping):
        inherits = key.endswith(TEMPLATES)  # a mapping from tasks to templates
        return {name: read(value, key if inherits else str(name)) for name, value in tree.items()}
    if isinstance(tree, list):
        return [read(value, key) for value in tree]
    if not isinstance(tree, str):
        return tree
    return NUMBERS[tree.lower()] if tree.lower() in NUMBERS else _unescaped(tree, key)


def _unescaped(text: str, key: str) -> str:
    """Return a text whose escapes are read; a template that has a newline was not typed on a command line."""
    if key in TEXTS:
        for escape, character in ESCAPES.items():
            text = text.replace(escape, character)
    elif key.endswith(TEMPLATES) and "\n" not in text:
        text = text.replace("\\n", "\n")
    return text
