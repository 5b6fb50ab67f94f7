"""Rows of a table in a csv, tsv, jsonl, json or parquet file, each with the values of its columns by name.

csv, tsv, jsonl and json may be packed (.gz, .bz2, .xz, .zst). A json file is a list of objects, or an object that holds
a list for each split; one object on each line, as in jsonl, is read too. A row of a parquet file has its number, from
1, in the place of a line. Class labels that the `datasets` library stored with a parquet file as numbers are read as
their names.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.data.files.json_document import JsonRecord, read_json
from cmt_cli.data.files.limits import LimitError, limits
from cmt_cli.data.files.opening import PACKED_ENDINGS, foreign
from cmt_cli.data.files.problems import Problem, Record, Row
from cmt_cli.data.files.reading import CsvForm, json_type, missing_name, read_csv, read_jsonl, read_lines
from cmt_cli.data.files.regular_files import open_regular

DELIMITERS = {".csv": ",", ".tsv": "\t"}
FORMATS = (*DELIMITERS, ".jsonl", ".ndjson", ".json", ".parquet")
OTHER_DELIMITERS = (";", "\t", "|")  # looked for where a table seems to have one column
NAMED_DELIMITERS = {"tab": "\t"}
_LISTS = ("Sequence", "List", "LargeList")  # features of the `datasets` library


@dataclass(frozen=True, kw_only=True, slots=True)
class TableForm:
    """How tables are written: a `header` where rows do not name their columns; of csv and tsv, `has_quotes` and the
    `delimiter` of columns, a character or "tab", None for the usual one.
    """

    has_quotes: bool
    header: Sequence[str] | None
    delimiter: str | None

    def __post_init__(self) -> None:
        """Refuse a delimiter of several characters."""
        if self.delimiter is not None and len(self.delimiter) != 1 and self.delimiter not in NAMED_DELIMITERS:
            raise UserError(f"data.table.delimiter={self.delimiter!r} must be one character, tab, or null.")


def format_of(file: Path) -> str | None:
    """Return the ending that tells a table's format, in lower case without that of packing; None for other files."""
    ending = _unpacked_name(file).suffix.lower()
    return ending if ending in FORMATS else None


def stem_of(file: Path) -> str:
    """Return the name of a table's file without its endings."""
    return _unpacked_name(file).stem


def _unpacked_name(file: Path) -> Path:
    return file.with_suffix("") if file.suffix.lower() in PACKED_ENDINGS else file


def rows_of(file: Path, form: TableForm, problems: list[Problem]) -> Iterator[tuple[str, Record]]:
    """Yield the rows of a table, each after the name of the list that it stands in: "" but in json with several."""
    ending = format_of(file)
    if ending == ".parquet":
        yield from (("", row) for row in _parquet_rows(file, problems))
    elif ending == ".json":
        if _has_lines(file):
            yield from (("", row) for row in read_jsonl(file, problems))
        else:
            yield from _json_rows(file, tuple(form.header or ()), problems)
    elif ending in DELIMITERS:
        delimiter = NAMED_DELIMITERS.get(form.delimiter or "", form.delimiter) or DELIMITERS[ending]
        csv_form = CsvForm(delimiter, form.has_quotes, tuple(form.header or ()))
        yield from (("", row) for row in read_csv(file, (), problems, csv_form))
    else:
        yield from (("", row) for row in read_jsonl(file, problems))


def value_at(values: Mapping[str, Any], name: str) -> Any:
    """Return a column's value; `choices.text` is the value `text` of an object `choices`. Raises KeyError."""
    if name in values:
        return values[name]
    outer, _, inner = name.partition(".")
    nested = values.get(outer)
    if inner and isinstance(nested, Mapping):
        return value_at(nested, inner)
    raise KeyError(name)


def missing_columns(record: Record, names: Mapping[str, str], file: Path) -> list[Problem]:
    """Return a problem of the whole file for each column that its first row lacks; `names` has their settings."""
    problems = []
    present = _names_in(record.values)
    line = 1 if format_of(file) in DELIMITERS else None
    if line and len(present) == 1 and (mark := next((mark for mark in OTHER_DELIMITERS if mark in present[0]), None)):
        given = "tab" if mark == "\t" else f'"{mark}"'
        fault = f"the only column is {present[0]!r}. Say what divides columns: 'data.table.delimiter={given}'"
        return [Problem(file, line, fault, ends_file=True, is_setting=True)]
    for name, setting in names.items():
        try:
            value_at(record.values, name)
        except KeyError:
            fault = f"{missing_name(name, present, kind='column')} Name the right one with {setting}"
            problems.append(Problem(file, line, fault, ends_file=True, is_setting=True))
    return problems


def _names_in(values: Mapping[str, Any]) -> list[str]:
    """Return the names of columns, of those inside objects too."""
    names = []
    for key, value in values.items():
        names += [f"{key}.{inner}" for inner in _names_in(value)] if isinstance(value, Mapping) else [key]
    return names


def _json_rows(file: Path, header: tuple[str, ...], problems: list[Problem]) -> Iterator[tuple[str, Record]]:
    document = read_json(file, problems)
    if document is None:
        return
    value = document.value
    lists = {"": value} if isinstance(value, list) else value
    if not isinstance(lists, dict) or not lists or not all(isinstance(rows, list) for rows in lists.values()):
        fault = f"must be a list of objects, or an object with a list of them for each split, not {json_type(value)}"
        if isinstance(value, dict) and value:
            key = next(key for key, rows in value.items() if not isinstance(rows, list))
            fault = (
                f"must be a list of objects, or an object with lists of them only; '{key}' is {json_type(value[key])}"
            )
        problems.append(Problem(file, None, fault))
        return
    if not any(lists.values()):
        problems.append(Problem(file, None, "has no rows"))
    for name, rows in lists.items():
        for keys, row in document.rows((name,) if isinstance(value, dict) else (), rows):
            named = dict(zip(header, row, strict=False)) if isinstance(row, list) and len(row) == len(header) else row
            if isinstance(named, dict):
                yield name, JsonRecord(document, keys, named)
                continue
            odd = document.problem(keys, f"must be an object, not {json_type(row)}{_hint(row, header)}")
            is_layout = isinstance(row, list)  # of all rows of the list, one by one
            problems.append(replace(odd, ends_file=is_layout))
            if is_layout:
                break


def _has_lines(file: Path) -> bool:
    """Return whether a file has one json object on its first line and more lines behind it."""
    lines = (line for line in read_lines(file, []) if line.strip())
    try:
        return isinstance(json.loads(next(lines, "")), dict) and next(lines, None) is not None
    except (ValueError, RecursionError):
        return False


def _hint(row: object, header: Sequence[str]) -> str:
    if not isinstance(row, list):
        return ""
    given = f"has {counted(len(header), 'name')}" if header else "can name its values"
    return f" of {len(row)}; data.table.header {given}"


def _parquet_rows(file: Path, problems: list[Problem]) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with open_regular(file) as stream:
            if fault := _foreign_parquet(stream.read(512)):
                problems.append(Problem(file, None, fault, ends_file=True))
                return
            stream.seek(0)
            table = parquet.ParquetFile(stream)
            groups = (table.metadata.row_group(index) for index in range(table.num_row_groups))
            limits().check_bytes(sum(group.total_byte_size for group in groups), file.stat().st_size)
            labels = _label_names(table.schema_arrow.metadata or {})
            for batch in table.iter_batches():
                for values in batch.to_pylist():
                    number += 1
                    named = {key: named_labels(jsonable(value), labels.get(key)) for key, value in values.items()}
                    yield Row(named, file, number)
    except LimitError as error:
        problems.append(Problem(file, None, str(error), ends_file=True))
        return
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, RecursionError) as error:
        fault = " ".join(str(error).split()).rstrip(".")
        problems.append(Problem(file, None, f"is not a parquet file that can be read ({fault})", ends_file=True))
        return
    if not number:
        problems.append(Problem(file, None, "has no rows"))


def _foreign_parquet(head: bytes) -> str | None:
    if not head:
        return "is empty"
    return None if head.startswith(b"PAR1") else foreign(head)


def jsonable(value: Any) -> Any:
    """Return a value of a table as json can spell it: dates in ISO 8601, decimal numbers as text."""
    if isinstance(value, dict):
        return {key: jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [jsonable(inner) for inner in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def _label_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of class labels by column, from what the `datasets` library stores with a table."""
    found: Any = json.loads(metadata.get(b"huggingface", b"{}"))
    for key in ("info", "features"):
        found = found.get(key, {}) if isinstance(found, dict) else {}
    names = {name: _names_of(feature) for name, feature in (found.items() if isinstance(found, dict) else ())}
    return {name: given for name, given in names.items() if given is not None}


def _names_of(feature: Any) -> list[str] | None:
    """Return the names of a class label, or of a list of them."""
    while isinstance(feature, dict) and feature.get("_type") in _LISTS:
        feature = feature.get("feature")
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return None
    names = feature.get("names")
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def named_labels(value: Any, names: Sequence[str] | None) -> Any:
    """Return the name of a label that is a number, or of each in a list; None for a number without a name."""
    if names is not None and isinstance(value, list):
        return [named_labels(inner, names) for inner in value]
    if names is None or not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None
