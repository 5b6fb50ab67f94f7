"""A json file read whole, whose objects know their line: positions are looked up only when a problem needs one."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmt_cli.data.files.problems import Problem, end_file
from cmt_cli.data.files.reading import REPLACEMENT, json_fault, read_lines

Keys = tuple[str | int, ...]
SPACE = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder()


class JsonDocument:
    """The value of a json file and the line on which each of its objects and lists begins.

    `is_damaged` says that the file has invalid bytes, whose problems are known.
    """

    def __init__(self, file: Path, text: str, value: Any, *, is_damaged: bool = False) -> None:
        self.file = file
        self.value = value
        self._is_damaged = is_damaged
        self._text = text
        self._lines: dict[Keys, int] | None = None

    def line_of(self, keys: Keys) -> int | None:
        """Return the line where the object or list at `keys` begins, if it can be found."""
        if self._lines is None:
            try:
                self._lines = container_lines(self._text)
            except RecursionError:  # nested deeper than any layout here; the path alone has to do
                self._lines = {}
        return self._lines.get(keys)

    def problem(self, keys: Keys, message: str) -> Problem:
        """Return a problem at a value of the file, its path spelled out, at the line of what it stands in."""
        lines = (self.line_of(keys[:number]) for number in range(len(keys), -1, -1))
        line = next((line for line in lines if line is not None), 1)
        path = spelled(keys)
        return Problem(self.file, line, f"{path}: {message}" if keys else message, row=path)

    def rows(self, keys: Keys, values: Sequence[Any]) -> Iterator[tuple[Keys, Any]]:
        """Yield the items of the list at `keys` with their paths, apart from those with invalid bytes."""
        for index, value in enumerate(values):
            if not (self._is_damaged and REPLACEMENT in str(value)):
                yield (*keys, index), value


@dataclass(frozen=True, slots=True)
class JsonRecord:
    """One object inside a json file."""

    document: JsonDocument
    keys: Keys
    values: Mapping[str, Any]

    def problem(self, message: str) -> Problem:
        """Return a problem at the line where the object begins."""
        return self.document.problem(self.keys, message)


def read_json(path: Path, problems: list[Problem]) -> JsonDocument | None:
    """Read a json file; None after a problem that leaves nothing to read."""
    num_known = len(problems)
    text = "".join(read_lines(path, problems))
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if len(problems) == num_known:
            fault = f"is not valid json ({error.msg} at column {error.colno})" if text.strip() else "is empty"
            problems.append(Problem(path, error.lineno, fault))
        end_file(problems, num_known)
        return None
    except (ValueError, RecursionError) as error:
        problems.append(Problem(path, None, f"is not valid json ({json_fault(error)})"))
        end_file(problems, num_known)
        return None
    return JsonDocument(path, text, value, is_damaged=len(problems) > num_known)


def spelled(keys: Keys) -> str:
    """Return the path of a value as one writes it: data[3].paragraphs[0]."""
    parts = [f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys]
    return "".join(parts).removeprefix(".")


def container_lines(text: str) -> dict[Keys, int]:
    """Return the line of every object and list in valid json, by its path."""
    ends = [match.start() for match in re.finditer("\n", text)]
    lines: dict[Keys, int] = {}
    _walk(text, _skip(text, 0), (), lines, ends)
    return lines


def _walk(text: str, position: int, keys: Keys, lines: dict[Keys, int], ends: list[int]) -> int:
    """Record the containers of the value at `position`; return where the value ends."""
    if text[position] not in "[{":
        return DECODER.raw_decode(text, position)[1]
    lines[keys] = bisect_right(ends, position) + 1
    is_object = text[position] == "{"
    position = _skip(text, position + 1)
    index = 0
    while text[position] not in "]}":
        key: str | int = index
        if is_object:
            key, position = DECODER.raw_decode(text, position)
            position = _skip(text, _skip(text, position) + 1)  # past the colon
        position = _skip(text, _walk(text, position, (*keys, key), lines, ends))
        if text[position] == ",":
            position = _skip(text, position + 1)
        index += 1
    return position + 1


def _skip(text: str, position: int) -> int:
    match = SPACE.match(text, position)
    assert match is not None  # the pattern matches the empty string
    return match.end()
