"""Profiles of the World Factbook as files hold them: an edition a folder, a region a folder in it, a country a file.

    2020-11-27/europe/xy.json    {"Government": {"Capital": {"name": {"text": "Berlin"}}}}

Of each file the country's name and the texts of the fields that are asked are kept. A country is known by its file's
name, since some move between regions.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cmt_cli.core.exceptions import counted
from cmt_cli.data.files.json_document import JsonRecord, read_json
from cmt_cli.data.files.problems import Problem, Row
from cmt_cli.data.files.reading import json_type
from cmt_cli.data.knowledge.factbook_cleaning import MAX_TEXT, Tally, plain, without_brackets, without_note
from cmt_cli.data.knowledge.factbook_fields import FIELDS, NAMES
from cmt_cli.data.knowledge.factbook_fields import Path as Keys

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_WITH_ARTICLE = re.compile(
    r"^(?:United|Republic|Democratic Republic|Central African|Czech Republic|Dominican Republic)\b"
)
_PLURAL = re.compile(r"\b(?:Islands|Bahamas|Gambia|Philippines|Netherlands|Maldives|Comoros|Seychelles)$")


@dataclass(frozen=True, slots=True)
class Profile:
    """One country in one edition: its name as a sentence has it, and the texts of its fields by name."""

    code: str
    edition: str
    name: str
    texts: Mapping[str, str]
    record: Row  # the place of the file, without what it holds


@dataclass(slots=True)
class Editions:
    """All profiles by country, in the order of editions, and the files that hold them."""

    profiles: dict[str, list[Profile]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)
    num_nameless: int = 0


def read_editions(path: Path, problems: list[Problem], tally: Tally) -> Editions:
    """Read all editions of a folder."""
    found = Editions()
    folders = {folder.name: folder for folder in _folders(path) if _is_date(folder.name)}
    if not folders:
        fault = "holds no edition: a folder named by its date, such as 2020-11-27, with REGION/CODE.json in it"
        problems.append(Problem(path, None, fault if path.exists() else "does not exist"))
    for date, folder in sorted(folders.items()):
        found.dates.append(date)
        for file in _files(folder, problems):
            found.files.append(file)
            _add(found, file, date, problems, tally)
    return found


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []


def _is_date(name: str) -> bool:
    try:
        return bool(_DATE.fullmatch(name)) and bool(datetime.date.fromisoformat(name))
    except ValueError:
        return False


def _files(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    """Yield the profiles of an edition; a country that is there twice is a problem."""
    seen: dict[str, Path] = {}
    for file in sorted(file for region in _folders(folder) for file in region.glob("*.json")):
        first = seen.setdefault(file.stem, file)
        if first == file:
            yield file
        else:
            problems.append(
                Problem(file, None, f"is the second profile of '{file.stem}' in its edition, after {first}")
            )
    if not seen:
        problems.append(Problem(folder, None, "holds no profile, REGION/CODE.json"))


def _add(found: Editions, file: Path, date: str, problems: list[Problem], tally: Tally) -> None:
    document = read_json(file, problems)
    if document is None:
        return
    if not isinstance(document.value, dict):
        problems.append(document.problem((), f"must be a json object, not {json_type(document.value)}"))
        return
    record = JsonRecord(document, (), document.value)
    names = [text for keys in NAMES if (text := _text(record, keys, problems))]
    name = next((name for text in names if (name := country_name(text, tally))), None)
    if name is None:
        found.num_nameless += 1
        return
    texts = {}
    for asked in FIELDS:
        text = next((text for keys in asked.paths if (text := _text(record, keys, problems))), None)
        if text:
            texts[asked.name] = text
    found.profiles.setdefault(file.stem, []).append(Profile(file.stem, date, name, texts, Row({}, file, 1)))


def country_name(text: str, tally: Tally) -> str:
    """Return a country's name as it stands in a sentence, "" for none: "Bahamas, The" is the Bahamas."""
    name = without_brackets(without_note(plain(text, tally), tally), tally)
    if name.lower() in ("", "none"):
        return ""
    first, comma, last = name.partition(", ")
    if comma and "," not in last:
        name = f"{last} {first}"
    name = re.sub(r"^The\s+", "the ", name)
    needs_article = not name.startswith("the ") and (_WITH_ARTICLE.search(name) or _PLURAL.search(name))
    return f"the {name}" if needs_article else name


def _text(record: JsonRecord, keys: Keys, problems: list[Problem]) -> str | None:
    """Return the text at a path, None where there is none; a text that is none is a problem."""
    value: Any = record.values
    place: tuple[str | int, ...] = ()
    for key in keys:
        if not isinstance(value, dict):
            return None
        if key == "*":
            return _by_year(value)
        name = key if key in value else next((other for other in value if other.strip() == key), key)
        value, place = value.get(name), (*place, name)
    text = value.get("text") if isinstance(value, dict) else value
    if text is None:
        return None
    if not isinstance(text, str):
        problems.append(record.document.problem(place, f"must be a text, or an object with one, not {json_type(text)}"))
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        problems.append(record.document.problem(place, "has half of a surrogate pair (\\ud800 to \\udfff)"))
        return None
    return text.strip()[:MAX_TEXT] or None


def _by_year(values: Mapping[str, Any]) -> str | None:
    """Return the texts of the keys that end in a year, the newest first."""
    years = {
        year[0]: value["text"]
        for key, value in values.items()
        if (year := re.search(r"\d{4}$", key.strip()))
        and isinstance(value, dict)
        and isinstance(value.get("text"), str)
    }
    return "; ".join(text for _, text in sorted(years.items(), reverse=True) if text.strip())[:MAX_TEXT] or None


def nameless_note(editions: Editions) -> str:
    """Return how many profiles have no country's name, as those of oceans; "" for none."""
    return (
        f"{counted(editions.num_nameless, 'profile')} without a country's name left out"
        if editions.num_nameless
        else ""
    )
