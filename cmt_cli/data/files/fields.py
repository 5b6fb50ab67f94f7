"""Fields of a record: text, ids, dates and answers, checked; a fault is appended to `problems` and gives None."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cmt_cli.data.files.problems import Problem, Record
from cmt_cli.data.files.reading import json_type, missing_name


def text_field(record: Record, name: str, problems: list[Problem]) -> str | None:
    """Return a text without the white space around it; missing, empty and non-text values are problems."""
    if name not in record.values:
        problems.append(record.problem(missing_name(name, list(record.values), kind="key")))
        return None
    value = record.values[name]
    if not isinstance(value, str):
        problems.append(record.problem(f"'{name}' must be a string, not {json_type(value)}"))
        return None
    text = value.strip()
    if not text:
        problems.append(record.problem(f"'{name}' is empty"))
        return None
    return text if _encodable(text, record, name, problems) else None


@dataclass(frozen=True, slots=True)
class _Instead:
    """A record with other values at the same place."""

    record: Record
    values: Mapping[str, Any]

    def problem(self, message: str) -> Problem:
        return self.record.problem(message)


def plain_field(record: Record, name: str, value: object, problems: list[Problem]) -> str | None:
    """Return a value that stands for a text: a text itself, a number as it is written, true or false.

    A whole number that was stored as 1.0, as columns with gaps are, is "1"; NaN and null are empty, which is a problem
    as any other value is.
    """
    if isinstance(value, bool):
        value = json.dumps(value)
    elif isinstance(value, float) and math.isinf(value):
        problems.append(record.problem(f"'{name}' is a number too large to be kept; put it into quotation marks"))
        return None
    elif isinstance(value, float) and value.is_integer():
        value = str(int(value))
    elif isinstance(value, int | float):
        value = "" if value != value else str(value)
    return text_field(_Instead(record, {name: "" if value is None else value}), name, problems)


def id_field(record: Record, name: str, problems: list[Problem]) -> str | None:
    """Return an id as text; a whole number is taken too."""
    value = record.values.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text_field(record, name, problems)


def optional_id_field(record: Record, name: str, problems: list[Problem]) -> str | None:
    """Return an id, or None without a problem where the record has none."""
    return None if record.values.get(name) is None else id_field(record, name, problems)


def optional_text_field(record: Record, name: str, problems: list[Problem]) -> str | None:
    """Return a text, or None without a problem where it is absent, null or empty."""
    value = record.values.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return text_field(record, name, problems)


def date_field(record: Record, name: str, problems: list[Problem]) -> str | None:
    """Return a date or time in ISO 8601 (UTC), read from ISO 8601 or from seconds since 1970; None where absent."""
    value = record.values.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        return iso_date(value)
    except (ValueError, OverflowError, OSError):
        message = (
            f"'{name}' is no date: {str(value)[:40]!r}; give 2020-05-17, 2020-05-17T08:30:00 or seconds since 1970"
        )
        problems.append(record.problem(message))
        return None


def iso_date(value: object) -> str:
    """Return ISO 8601 text for an ISO date, an ISO time or seconds since 1970. Raises ValueError for anything else."""
    text = str(value).strip()
    if isinstance(value, bool):
        raise ValueError("true and false are no dates")
    if isinstance(value, int | float) or (text.lstrip("-").isascii() and text.lstrip("-").isdigit() and len(text) != 8):
        moment = datetime.datetime.fromtimestamp(float(text), tz=datetime.UTC)
    elif "T" not in text and " " not in text:
        return datetime.date.fromisoformat(text).isoformat()
    else:
        moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo:
        moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
    midnight = moment.time() == datetime.time()
    return moment.date().isoformat() if midnight else moment.isoformat(timespec="seconds")


def answers_field(record: Record, names: Sequence[str], problems: list[Problem]) -> tuple[str, ...]:
    """Return the different answers of one or more keys, each a string or a list of strings, in order.

    Empty strings among other answers are dropped; no answer at all is a problem. Keys after the first are optional.
    """
    if names[0] not in record.values:
        problems.append(record.problem(missing_name(names[0], list(record.values), kind="key")))
        return ()
    answers: dict[str, None] = {}
    for name in names:
        value = record.values.get(name)
        if value is None:
            continue
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, str):
                message = f"'{name}' must be a string or a list of strings, not {json_type(item)}"
                problems.append(record.problem(message))
                return ()
            if _encodable(item, record, name, problems):
                answers[item.strip()] = None
    return present_answers(record, answers, problems)


def present_answers(
    record: Record, answers: Sequence[str] | dict[str, None], problems: list[Problem]
) -> tuple[str, ...]:
    """Return the answers that are not empty, each once; a problem if there is none."""
    present = tuple(dict.fromkeys(answer.strip() for answer in answers if answer.strip()))
    if not present:
        problems.append(record.problem("the question has no answer"))
    return present


def _encodable(text: str, record: Record, name: str, problems: list[Problem]) -> bool:
    """Report a surrogate without its partner: json can spell it, but no file or tokenizer can hold it."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        problems.append(record.problem(f"'{name}' has half of a surrogate pair (\\ud800 to \\udfff)"))
        return False
    return True
