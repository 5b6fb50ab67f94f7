"""What a row of a hub data set must look like: the shape of each column, and the labels that it may hold.

A shape is `str`, `int`, a list of one shape, a mapping of shapes by key, or Labels:

    {"tokens": [str], "head": {"text": str, "indices": [[int]]}, "relation": Labels(num=64)}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cmt_cli.core.exceptions import counted, nearest
from cmt_cli.data.files.reading import json_type, missing_name

Shape = Any  # one of the five that the module names; they nest
_WORDS = {str: "a text", int: "a whole number"}
_MAX_LETTERS = 60  # of a value in a message


@dataclass(frozen=True, slots=True)
class Labels:
    """A text that is one of so many labels, of these where they are named."""

    num: int
    names: frozenset[str] = frozenset()


def named(*names: str) -> Labels:
    """Return the shape of a label that is one of these."""
    return Labels(len(names), frozenset(names))


class RowCheck:
    """Compares rows with the shapes of their columns, and in the end the number of different labels."""

    def __init__(self, columns: Mapping[str, Shape]) -> None:
        """Take the shape of each column; rows may have others as well."""
        self._columns = columns
        self._seen: dict[str, set[str]] = {}

    def fault(self, row: Mapping[str, Any]) -> str | None:
        """Return what is wrong with a row, or None."""
        for name, shape in self._columns.items():
            if name not in row:
                return missing_name(name, list(row), kind="column").rstrip(".")
            if found := self._fault(row[name], shape, name):
                return found
        return None

    def lacking(self) -> str | None:
        """Return what the rows that were compared lack: labels that should have come up; or None."""
        for name, shape in self._columns.items():
            labels = _labels_of(shape)
            number = len(self._seen.get(name, ()))
            if labels is not None and not labels.names and number != labels.num:
                return f"the column '{name}' holds {counted(number, 'label')}, not {labels.num}"
        return None

    def _fault(self, value: Any, shape: Shape, name: str) -> str | None:
        if isinstance(shape, Labels):
            return self._label_fault(value, shape, name)
        if isinstance(shape, list):
            if not isinstance(value, list):
                return f"'{name}' must be a list, not {json_type(value)}"
            return next((found for inner in value if (found := self._fault(inner, shape[0], name))), None)
        if isinstance(shape, Mapping):
            if not isinstance(value, Mapping):
                return f"'{name}' must be an object, not {json_type(value)}"
            if lacks := next((key for key in shape if key not in value), None):
                return f"'{name}' has no '{lacks}'"
            faults = (self._fault(value[key], inner, f"{name}.{key}") for key, inner in shape.items())
            return next((found for found in faults if found), None)
        return None if type(value) is shape else f"'{name}' must be {_WORDS[shape]}, not {json_type(value)}"

    def _label_fault(self, value: Any, shape: Labels, name: str) -> str | None:
        if not isinstance(value, str):
            return f"'{name}' must be a label with a name, not {json_type(value)}"
        if shape.names and value not in shape.names:
            near = nearest(value, shape.names)
            return f"'{name}' is '{value[:_MAX_LETTERS]}', none of the {shape.num} labels that are expected.{near}"
        self._seen.setdefault(name, set()).add(value)
        return None


def _labels_of(shape: Shape) -> Labels | None:
    while isinstance(shape, list):
        shape = shape[0]
    return shape if isinstance(shape, Labels) else None
