"""Json files of instructions, read strictly; shared by `superni`, `citb`, `trace` and `alpaca_skills`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cmt_cli.data.files.json_document import JsonDocument, JsonRecord, Keys, read_json
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import json_type


def records_of(file: Path, problems: list[Problem]) -> Iterator[JsonRecord]:
    """Yield the objects of a json file that is a list of objects; those with invalid bytes are left out."""
    document = read_json(file, problems)
    if document is not None:
        yield from records_in(document, (), document.value, problems)


def records_in(document: JsonDocument, keys: Keys, value: Any, problems: list[Problem]) -> Iterator[JsonRecord]:
    """Yield the objects of a list at `keys`."""
    if not isinstance(value, list):
        problems.append(
            Problem(document.file, None, f"{_place(keys)}must be a list of objects, not {json_type(value)}")
        )
        return
    if not value:
        problems.append(Problem(document.file, None, f"{_place(keys)}the list is empty"))
    for place, values in document.rows(keys, value):
        if isinstance(values, dict):
            yield JsonRecord(document, place, values)
        else:
            problems.append(document.problem(place, f"must be an object, not {json_type(values)}"))


def _place(keys: Keys) -> str:
    return f"'{keys[0]}': " if keys else ""
