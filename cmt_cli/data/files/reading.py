"""Strict readers of csv, jsonl and json files: every record knows its file and line, every fault becomes a `Problem`.

Readers take a list and append problems to it instead of stopping at the first, so that all can be shown at once.
Values stay text: no type is guessed and "NA", "None" or "nan" are ordinary answers. UTF-8 only, with or without a byte
order mark; any line ending; gzip is recognized by its first bytes.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cmt_cli.core.exceptions import counted, nearest
from cmt_cli.data.files.problems import NOT_UTF8, Problem, Row

GZIP_MAGIC = b"\x1f\x8b"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
MAX_FIELD_CHARACTERS = 2**31 - 1  # what csv.field_size_limit takes on every platform


def sha256_of(path: Path) -> str:
    """Return the hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def find(folder: Path, name: str) -> Path | None:
    """Return a file of a folder by its name, as it is or gzipped; None where there is neither."""
    for candidate in (folder / name, folder / f"{name}.gz", folder / f"{name}.gzip"):
        if candidate.is_file():
            return candidate
    return None


def folder_with(path: Path, inner: Sequence[str], pattern: str) -> Path | None:
    """Return the first of `path` and the folders `inner` below it in which something matches; None where none does."""
    folders = (path, *(path / name for name in inner))
    return next((folder for folder in folders if folder.is_dir() and any(folder.glob(pattern))), None)


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading, through gzip if it is compressed."""
    stream = path.open("rb")
    compressed = stream.read(2) == GZIP_MAGIC
    stream.seek(0)
    if not compressed:
        return stream
    stream.close()
    return gzip.open(path)  # type: ignore[return-value]


def read_lines(path: Path, problems: list[Problem]) -> Iterator[str]:
    """Yield the lines of a text file with their endings; invalid bytes are reported and come as U+FFFD."""
    number = 0
    try:
        with open_bytes(path) as stream:
            for number, raw in enumerate(stream, start=1):
                if number == 1 and raw.startswith(UTF16_MARKS):
                    problems.append(Problem(path, 1, "is UTF-16; save it as UTF-8", ends_file=True))
                    return
                encoding = "utf-8-sig" if number == 1 else "utf-8"
                try:
                    yield raw.decode(encoding)
                except UnicodeDecodeError as error:
                    byte = raw[error.start : error.start + 1].hex()
                    problems.append(Problem(path, number, f"{NOT_UTF8} (byte 0x{byte} at {error.start} of the line)"))
                    yield raw.decode(encoding, errors="replace")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        problems.append(Problem(path, number + 1, f"the gzip data are damaged ({error})", ends_file=True))
    except OSError as error:
        problems.append(Problem(path, None, f"cannot be read: {error.strerror or error}"))


def numbered_lines(path: Path, problems: list[Problem]) -> Iterator[tuple[int, str, bool]]:
    """Yield each line's number, its text without the ending, and whether its bytes are faulty, which is reported."""
    known = len(problems)
    for number, line in enumerate(read_lines(path, problems), start=1):
        yield number, line.rstrip("\r\n"), len(problems) > known
        known = len(problems)


@dataclass(frozen=True, slots=True)
class CsvForm:
    """How a file's rows are written; `has_quotes` False takes quotation marks as they are.

    `header` names the columns of a file that has no line for it.
    """

    delimiter: str = ","
    has_quotes: bool = True
    header: tuple[str, ...] = ()


PLAIN_CSV = CsvForm()


def read_csv(path: Path, required: Sequence[str], problems: list[Problem], form: CsvForm = PLAIN_CSV) -> Iterator[Row]:
    """Yield the rows of a csv file with a header, those with invalid bytes left out.

    Columns may come in any order and unknown ones are kept.
    """
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    reader = csv.reader(
        read_lines(path, problems),
        strict=True,
        delimiter=form.delimiter,
        quoting=csv.QUOTE_MINIMAL if form.has_quotes else csv.QUOTE_NONE,
    )
    header = list(form.header) or None
    num_known = len(problems)
    is_empty = True
    while True:
        line, num_before = reader.line_num + 1, len(problems)
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            fault = f"{_csv_fault(error)}; reading stops here"
            problems.append(Problem(path, line, fault, ends_file=True))
            return
        if not fields:
            continue
        if header is None:
            header = [name.strip() for name in fields]
            faults = _header_faults(header, required)
            problems.extend(Problem(path, line, fault, ends_file=True) for fault in faults)
            if faults:
                return
        elif len(fields) != len(header):
            problems.append(
                Problem(path, line, f"has {counted(len(fields), 'field')} where the header has {len(header)}")
            )
        elif len(problems) == num_before:
            is_empty = False
            yield Row(dict(zip(header, fields, strict=True)), path, line)
    if is_empty and len(problems) == num_known:
        problems.append(Problem(path, None, "has no rows" if header and not form.header else "is empty"))


def _csv_fault(error: csv.Error) -> str:
    if "new-line character" in str(error):  # the csv module's advice is about arguments of Python's open()
        return "is not a text file, or its lines end in carriage returns alone"
    return f"is not valid csv ({error})"


def _header_faults(header: Sequence[str], required: Sequence[str]) -> list[str]:
    faults = [f"{missing_name(name, header, kind='column')}" for name in required if name not in header]
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    return faults + [f"the column '{name}' occurs twice" for name in repeated]


def missing_name(name: str, present: Sequence[str], *, kind: str) -> str:
    """Return the sentence that says a column or key is missing, with what is there and a near match."""
    there = ", ".join(f"'{key}'" for key in present if key) or "none"
    return f"the {kind} '{name}' is missing; there are {there}.{nearest(name, present)}"


def read_jsonl(path: Path, problems: list[Problem]) -> Iterator[Row]:
    """Yield the objects of a file that has one json object on each line; empty lines and invalid bytes are skipped."""
    num_known = len(problems)
    is_empty = True
    for line, text, is_faulty in numbered_lines(path, problems):
        if is_faulty or not text.strip():
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(path, line, f"is not valid json ({_json_fault(error)})"))
            continue
        if isinstance(value, dict):
            is_empty = False
            yield Row(value, path, line)
        else:
            problems.append(Problem(path, line, f"must be a json object, not {json_type(value)}"))
    if is_empty and len(problems) == num_known:
        problems.append(Problem(path, None, "is empty"))


def _json_fault(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def json_type(value: object) -> str:
    """Return json's word for the type of a value, with its article."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    names: dict[type, str] = {str: "a string", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)
