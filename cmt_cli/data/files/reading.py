"""Strict readers of csv, jsonl and json files: every record knows its file and line, every fault becomes a `Problem`.

Readers take a list and append problems to it instead of stopping at the first, so that all can be shown at once.
Values stay text: no type is guessed and "NA", "None" or "nan" are ordinary answers. UTF-8 only, with or without a byte
order mark; any line ending; what packs a file is told by its first bytes. A last line without its ending may have been
cut off: it is a problem where every file has one, else a warning tells of it.
"""

from __future__ import annotations

import csv
import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cmt_cli.core.exceptions import CmtWarning, counted, nearest
from cmt_cli.data.files.limits import LimitError
from cmt_cli.data.files.opening import DAMAGE, PACKED_ENDINGS, foreign, open_bytes, packing_of, raw_lines
from cmt_cli.data.files.problems import NOT_UTF8, Problem, Row
from cmt_cli.data.files.regular_files import SpecialFileError, open_regular

UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # what invalid bytes are read as
AtCut = Literal["keep", "warn", "refuse"]
CUT_LINE = "the file ends within this line, without a line ending: it is cut off, or complete once one is added"
_HEAD_BYTES = 512
MAX_FIELD_CHARACTERS = 2**31 - 1  # what csv.field_size_limit takes on every platform


def sha256_of(path: Path) -> str:
    """Return the hexadecimal sha256 of a file's bytes."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def find(folder: Path, name: str) -> Path | None:
    """Return a file of a folder by its name, as it is or packed; None where there is neither."""
    candidates = (folder / f"{name}{ending}" for ending in ("", *PACKED_ENDINGS))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def folder_with(path: Path, inner: Sequence[str], pattern: str) -> Path | None:
    """Return the first of `path` and the folders `inner` below it in which something matches; None where none does."""
    folders = (path, *(path / name for name in inner))
    return next((folder for folder in folders if folder.is_dir() and any(folder.glob(pattern))), None)


def read_lines(path: Path, problems: list[Problem], *, at_cut: AtCut = "keep") -> Iterator[str]:
    """Yield the lines of a text file with their endings; invalid bytes are reported and come as U+FFFD.

    A last line without an ending may be a part of one. `at_cut` says whether it is reported, or a warning tells of it,
    which is right where editors leave the ending out and a part can often be told otherwise.
    """
    number, raw = 0, b""
    try:
        with open_bytes(path) as stream:
            if fault := _foreign(stream.peek(_HEAD_BYTES)[:_HEAD_BYTES]):
                problems.append(Problem(path, 1, fault, ends_file=True))
                return
            for number, raw in enumerate(raw_lines(stream), start=1):
                encoding = "utf-8-sig" if number == 1 else "utf-8"
                text, fault = _decoded(raw, encoding)
                if fault:
                    problems.append(Problem(path, number, fault))
                if at_cut != "keep" and not raw.endswith((b"\n", b"\r")) and raw.strip():
                    _tell_cut(path, number, at_cut, problems)
                yield text
    except LimitError as error:
        problems.append(Problem(path, number + 1, str(error), ends_file=True))
    except SpecialFileError as error:
        problems.append(Problem(path, None, str(error), ends_file=True))
    except DAMAGE as error:
        fault = f"the {packing_of(path)} data are damaged ({error})"
        problems.append(Problem(path, number + 1, fault, ends_file=True))
    except OSError as error:
        problems.append(Problem(path, None, f"cannot be read: {error.strerror or error}", ends_file=True))


def _tell_cut(path: Path, number: int, at_cut: AtCut, problems: list[Problem]) -> None:
    if at_cut == "refuse":
        problems.append(Problem(path, number, CUT_LINE))
        return
    warnings.warn(
        f"{path} ends in line {number} without a line ending: if it is cut off there, get the whole file.",
        CmtWarning,
        stacklevel=3,
    )


def _foreign(head: bytes) -> str | None:
    """Return what a file is that begins with these bytes and is no UTF-8 text, None for text."""
    if head.startswith(UTF16_MARKS):
        return "is UTF-16; save it as UTF-8"
    line = head.partition(b"\n")[0]
    if len(line) > 3 and any(line) and any(not any(half) for half in (line[::2], line[1::2])):
        return "is UTF-16 without a byte order mark; save it as UTF-8"
    return foreign(head)


def _decoded(raw: bytes, encoding: str) -> tuple[str, str | None]:
    """Return the text of a line and what is wrong with its bytes, None where they are text."""
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        fault = f"{NOT_UTF8} (byte 0x{raw[error.start]:02x} at {error.start} of the line)"
        return raw.decode(encoding, errors="replace").replace("\0", REPLACEMENT), fault
    if "\0" not in text:
        return text, None
    fault = f"has a NUL byte at {raw.index(0)} of the line, which no text has: the file is damaged, or is no text"
    return text.replace("\0", REPLACEMENT), fault


def numbered_lines(path: Path, problems: list[Problem], *, at_cut: AtCut = "keep") -> Iterator[tuple[int, str, bool]]:
    """Yield each line's number, its text without the ending, and whether the line is faulty, which is reported."""
    known = len(problems)
    for number, line in enumerate(read_lines(path, problems, at_cut=at_cut), start=1):
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
        read_lines(path, problems, at_cut="warn"),
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
            problems.append(Problem(path, line, f"is not valid json ({json_fault(error)})"))
            continue
        if isinstance(value, dict):
            is_empty = False
            yield Row(value, path, line)
        else:
            problems.append(Problem(path, line, f"must be a json object, not {json_type(value)}"))
    if is_empty and len(problems) == num_known:
        problems.append(Problem(path, None, "is empty"))


def json_fault(error: ValueError | RecursionError) -> str:
    """Return why `json` refused a text."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error).partition(";")[0]  # of a long number; then comes advice about Python's own settings


def json_type(value: object) -> str:
    """Return json's word for the type of a value, with its article."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    names: dict[type, str] = {str: "a string", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)
