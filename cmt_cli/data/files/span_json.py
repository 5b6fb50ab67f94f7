"""Sentences with entities as spans: one json object on each line, spans by characters of a text or by tokens.

    {"text": "Moor sang in Kelham .", "entities": [{"start": 0, "end": 4, "type": "person"}, [13, 19, "city"]]}
    {"tokens": ["Moor", "sang"], "entities": [{"start": 0, "end": 1, "label": "person"}]}

`end` is behind the last character or token. Spans may overlap; they are told in the order of their starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cmt_cli.core.exceptions import counted
from cmt_cli.core.spans import Entity
from cmt_cli.data.files.conll import Sentence
from cmt_cli.data.files.fields import text_field
from cmt_cli.data.files.problems import Problem, Row
from cmt_cli.data.files.reading import json_type, read_jsonl

Span = tuple[int, int, str]


def read_spans(file: Path, problems: list[Problem]) -> list[Sentence]:
    """Read a file of span json; a sentence with a fault is left out, an empty file is a problem."""
    return [sentence for row in read_jsonl(file, problems) if (sentence := _sentence(row, problems)) is not None]


def _sentence(row: Row, problems: list[Problem]) -> Sentence | None:
    start = len(problems)
    if "tokens" in row.values:
        words = row.values["tokens"]
        if not isinstance(words, list) or not words or not all(isinstance(w, str) and w.strip() for w in words):
            problems.append(row.problem("'tokens' must be a list of strings, none of them empty"))
            return None
        units: list[str] | str = words
    else:
        text = text_field(row, "text", problems)
        units = row.values["text"] if text is not None else ""
    listed = row.values.get("entities")
    if not isinstance(listed, list):
        problems.append(row.problem(f"'entities' must be a list, not {json_type(listed)}"))
        return None
    found = [span for index, value in enumerate(listed) if (span := _span(value, index, units, row, problems))]
    if len(problems) > start:
        return None
    entities = tuple(Entity(kind, _words(units, begin, end)) for begin, end, kind in sorted(found))
    return Sentence(tuple(_words(units, 0, len(units)).split()), entities, row.line)


def _span(value: Any, index: int, units: list[str] | str, row: Row, problems: list[Problem]) -> Span | None:
    if isinstance(value, dict):
        value = [value.get("start"), value.get("end"), value.get("type", value.get("label"))]
    if not isinstance(value, list) or len(value) != 3 or not all(type(place) is int for place in value[:2]):
        problems.append(row.problem(f"entities[{index}] must be {{start, end, type}} with whole numbers"))
        return None
    begin, end, kind = value
    if not isinstance(kind, str) or not kind.strip():
        problems.append(row.problem(f"entities[{index}] has no type"))
        return None
    if not 0 <= begin < end <= len(units) or not _words(units, begin, end):
        problems.append(
            row.problem(f"entities[{index}] from {begin} to {end} holds nothing of {counted(len(units), 'place')}")
        )
        return None
    return begin, end, kind


def _words(units: list[str] | str, begin: int, end: int) -> str:
    text = units[begin:end]
    return " ".join((text if isinstance(text, str) else " ".join(text)).split())
