"""What a field of a World Factbook profile says: a value in the form of an answer, none, or nothing that is understood.

A value that no rule understands is no fact: it is counted, and neither asked nor taken for a change.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from cmt_cli.data.knowledge.factbook_cleaning import (
    Tally,
    first_clause,
    folded,
    in_capitals,
    plain,
    roman,
    since,
    without_brackets,
    without_note,
    without_titles,
    year_of,
)

_NONE = re.compile(r"^(?:none|vacant|no\b.*|N/?A%?|.*\(\s*(?:currently\s+)?vacant\b.*)$", re.IGNORECASE)
_NUMBER = re.compile(r"-?\$?\d[\d,]*(?:\.\d+)?(?:\s(?:million|billion|trillion)\b)?%?")
_MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
_DAY = re.compile(rf"\b(\d{{1,2}})\s+({_MONTH})\b")
_SHARE = re.compile(r"^(?:almost entirely\s+)?([^\d%;]+?),?\s+(?:[<>~]\s*)?\d[\d.]*%")
_CURRENCY = re.compile(r"^(.+?)\s*(?:\(([A-Z]{3})\))?\s+per US dollar", re.IGNORECASE)
_AGE = re.compile(r"\b(\d{2})\s+years\s+of\s+age")
_CODE = re.compile(r"\.[a-z]{2,}")
_PARTICLES = frozenset(
    "al- bin ben bint da dal dan das de del della den der des di dos du e el ibn la las le los ould te van vel von y".split()
)
_SAME_COUNTRY = (
    ("US", "USA", "United States"),
    ("UK", "United Kingdom"),
    ("UAE", "United Arab Emirates"),
    ("South Korea", "S. Korea"),
    ("North Korea", "N. Korea"),
    ("Democratic Republic of the Congo", "DR Congo", "DRC"),
    ("Cote d'Ivoire", "Cote dIvoire", "Côte d'Ivoire"),
    ("Turkey", "Turkiye", "Türkiye", "Turkey (Turkiye)"),
    ("Bosnia and Herzegovina", "Bosnia & Herzegovina"),
    ("Antigua and Barbuda", "Antigua & Barbuda"),
    ("Trinidad and Tobago", "Trinidad & Tobago"),
    ("Eswatini", "Swaziland"),
    ("North Macedonia", "Macedonia"),
    ("Czechia", "Czech Republic"),
)
_MAX_NAME, _MAX_PHRASE, _MAX_LANGUAGES = 7, 12, 5  # words; words; languages


@dataclass(frozen=True, slots=True)
class Value:
    """A fact's value: all accepted `answers`, the publisher's form first, and what tells it from another.

    `key` is compared first; `detail` is the date of an office, the year of an estimate or the code of a currency.
    """

    answers: tuple[str, ...]
    key: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Stated:
    """What was read: a value, or `is_none` where the text says that there is none; neither where nobody can tell."""

    value: Value | None = None
    is_none: bool = False


UNCLEAR, NONE = Stated(), Stated(is_none=True)
Reader = Callable[[str, Tally], Stated]


def person(text: str, tally: Tally) -> Stated:
    """Read the first person of a text, without offices, ranks, dates and notes."""
    clause = first_clause(without_note(plain(text, tally), tally), tally)
    if _NONE.match(clause):
        return NONE
    name = without_titles(without_brackets(clause, tally), tally)
    words = name.split()
    if not words or len(words) > _MAX_NAME or re.search(r"\d|/|,(?! (?:Jr|Sr))| and | since ", f"{name} "):
        return UNCLEAR
    if any(word.islower() and not word.startswith("al-") and word not in _PARTICLES for word in words):
        return UNCLEAR
    if not any(in_capitals(word) or roman(word) for word in words):
        return UNCLEAR
    return Stated(Value((name,), folded(name), since(clause)))


def phrase(text: str, tally: Tally) -> Stated:
    """Read a short description, such as a type of government or a country's long name."""
    said = without_brackets(first_clause(without_note(plain(text, tally), tally), tally), tally)
    if not said or _NONE.match(said):
        return NONE if said else UNCLEAR
    return Stated(Value((said,), folded(said))) if len(said.split()) <= _MAX_PHRASE else UNCLEAR


def place(text: str, tally: Tally) -> Stated:
    """Read the first place of a text."""
    found = phrase(text, tally)
    if found.value is None or not found.value.answers[0][:1].isupper():
        return found if found.is_none else UNCLEAR
    return UNCLEAR if len(found.value.answers[0].split()) > _MAX_NAME else found


def number(unit: str = "") -> Reader:
    """Return a reader of the first number of a text, which is also accepted with its unit."""

    def read(text: str, tally: Tally) -> Stated:
        said = plain(text, tally)
        found = _NUMBER.search(without_brackets(first_clause(said, tally), tally))
        if found is None:
            return UNCLEAR
        answers = (found[0], f"{found[0]} {unit}") if unit else (found[0],)
        return Stated(Value(answers, _plain_number(found[0]), year_of(said)))

    return read


def _plain_number(text: str) -> str:
    bare = text.replace(",", "").replace("$", "").replace("%", "")
    return re.sub(r"\.0+(?=\s|$)", "", re.sub(r"(\.\d*?[1-9])0+(?=\s|$)", r"\1", bare))


def holiday(text: str, tally: Tally) -> Stated:
    """Read the day of the first holiday that a text names."""
    clause = first_clause(without_note(plain(text, tally), tally), tally)
    found = _DAY.search(without_brackets(clause, tally))
    if found is None:
        return NONE if _NONE.match(clause) else UNCLEAR
    day = f"{int(found[1])} {found[2]}"
    return Stated(Value((day, f"{found[2]} {int(found[1])}"), day))


def partner(text: str, tally: Tally) -> Stated:
    """Read the first country of a list with shares; it is accepted under its other common names."""
    found = _SHARE.match(plain(text, tally))
    if found is None:
        return UNCLEAR
    name = found[1].strip(" ,")
    names = next((names for names in _SAME_COUNTRY if name in names), (name,))
    if len(names) > 1 and name != names[0]:
        tally["other name of a country"] += 1
    return Stated(Value((name, *(other for other in names if other != name)), folded(names[0])))


def languages(text: str, tally: Tally) -> Stated:
    """Read the languages that a text calls official, in its order."""
    said = without_note(plain(text, tally), tally)
    items = re.split(r"[,;]\s*(?![^()]*\))", said)
    official = [item for item in items if re.search(r"\([^()]*\bofficial\b(?! (?:minority|regional|sign))", item)]
    names = [re.sub(r"\s+(?:only|[<>~]?[\d.]+%).*$", "", without_brackets(item, tally)) for item in official]
    names = [re.sub(r"^and\s+", "", name).strip() for name in names]
    if not 1 <= len(names) <= _MAX_LANGUAGES or any(not name[:1].isupper() or len(name.split()) > 4 for name in names):
        return UNCLEAR
    others = (" and ".join(names),) if len(names) == 2 else ()
    return Stated(Value((", ".join(names), *others), " ".join(sorted(map(folded, names)))))


def currency(text: str, tally: Tally) -> Stated:
    """Read the name of a currency from its exchange rate against the US dollar."""
    found = _CURRENCY.match(plain(text, tally))
    if found is None:
        return UNCLEAR
    name = without_brackets(found[1], tally)
    return Stated(Value((name,), folded(name), found[2] or "")) if name else UNCLEAR


def age(text: str, tally: Tally) -> Stated:
    """Read the first age of a text."""
    found = _AGE.search(plain(text, tally))
    return Stated(Value((found[1], found[0]), found[1])) if found else UNCLEAR


def internet_code(text: str, tally: Tally) -> Stated:
    """Read the first Internet country code of a text."""
    found = _CODE.search(plain(text, tally))
    return Stated(Value((found[0],), found[0])) if found else UNCLEAR
