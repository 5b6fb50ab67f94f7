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
import shlex
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

from cmt_cli.core.exceptions import UserError, counted, ended, nearest

GZIP_MAGIC = b"\x1f\x8b"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
MAX_FIELD_CHARACTERS = 2**31 - 1  # what csv.field_size_limit takes on every platform
SHOWN_PROBLEMS = 3
NOT_UTF8 = "is not UTF-8"


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of a user's file. `line` counts from 1; it is None where the fault has no line.

    `ends_file` says that reading stopped there: nobody knows how many rows lie behind it. `row` names the faulty row of
    the file where its line does not, as in json, in which a line can hold many rows and a row many lines. `is_setting`
    says that a setting may be at fault rather than the file.
    """

    file: Path
    line: int | None
    message: str
    ends_file: bool = False
    row: str = ""
    is_setting: bool = False

    @property
    def is_of_row(self) -> bool:
        """Return whether leaving out one row mends the file."""
        return self.line is not None and not self.ends_file

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        return f"{place}: {self.message}"


class ProblemError(UserError):
    """All problems of some files; the message shows the first few and names the command that lists the rest."""

    def __init__(
        self, problems: Sequence[Problem], *, name: str, path: Path, overrides: Sequence[str] | None = None
    ) -> None:
        """Show the problems; `overrides` of the data are repeated in the command, None knows only the path."""
        self.problems = tuple(problems)
        self._name, self._path, self._overrides = name, path, overrides
        shown = "; ".join(str(problem).rstrip(".") for problem in self.problems[:SHOWN_PROBLEMS])
        count = counted(len(self.problems), "problem")
        rest = f"; and {len(self.problems) - SHOWN_PROBLEMS} more" if len(self.problems) > SHOWN_PROBLEMS else ""
        super().__init__(
            f"{ended(f'The files of data={name} have {count}: {shown}{rest}')} "
            f"{self._advice()}`{self._command()}` lists every problem."
        )

    def of_command(self, name: str, overrides: Sequence[str]) -> ProblemError:
        """Return the error of a run whose data is `name` and that was given these overrides."""
        data = [override for override in overrides if override.lstrip("+~").startswith("data.")]
        return ProblemError(self.problems, name=name, path=self._path, overrides=data or None)

    def _advice(self) -> str:
        if all(problem.is_setting for problem in self.problems):
            return ""
        if any(NOT_UTF8 in problem.message for problem in self.problems):
            return (
                "`iconv -f latin1 -t utf-8 FILE > NEW_FILE` converts a file from Latin-1. Mend the files and repeat; "
            )
        return "Mend the files and repeat; "

    def _command(self) -> str:
        settings = ["--path", str(self._path)] if self._overrides is None else self._overrides
        return shlex.join(["cmt", "data", "check", self._name, *settings])

    def __reduce__(self) -> tuple[Callable[[], ProblemError], tuple[()]]:
        """Pickle all arguments: launchers of parallel sweeps send the exception back from their workers."""
        return partial(ProblemError, self.problems, name=self._name, path=self._path, overrides=self._overrides), ()


class Record(Protocol):
    """One item of a file: its values by name, and the place to report a problem at."""

    @property
    def values(self) -> Mapping[str, Any]:
        """Return the values by column or key."""

    def problem(self, message: str) -> Problem:
        """Return a problem at this record's place."""


@dataclass(frozen=True, slots=True)
class Row:
    """A csv row or a line of jsonl."""

    values: Mapping[str, Any]
    file: Path
    line: int

    def problem(self, message: str) -> Problem:
        """Return a problem at the row's first line."""
        return Problem(self.file, self.line, message)


def num_rows(problems: Sequence[Problem]) -> int:
    """Return how many different rows problems are of."""
    return len({(problem.file, problem.row or problem.line) for problem in problems if problem.is_of_row})


def name_row(problems: list[Problem], start: int, row: str) -> None:
    """Say of the problems from `start` on which row of their file they are in."""
    problems[start:] = [replace(problem, row=row) for problem in problems[start:]]


def end_file(problems: list[Problem], start: int) -> None:
    """Say of the problems from `start` on that reading stopped at them."""
    problems[start:] = [replace(problem, ends_file=True) for problem in problems[start:]]


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
