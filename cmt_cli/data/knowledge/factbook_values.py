"""What a field of a World Factbook profile says: a value in the form of an answer, none, or nothing that is understood.

A value that no rule understands is no fact: it is counted, and neither asked nor taken for a change.
"""

from __future__ import annotations

import re
from collections import Counter
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

_NONE = re.compile(r"^(?:none|vacant|no)\b", re.IGNORECASE)
_VACANT = re.compile(r"^([^(]*)\(\s*(?:currently\s+)?vacant\b", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?:ca\.|about|approximately)?\s*(-?\$?\d[\d,]*(?:\.\d+)?(?:\s(?:million|billion|trillion)\b)?%?)"
)
_MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
_DAY = re.compile(rf"\b(\d{{1,2}})(?:-\d{{1,2}})?\s+({_MONTH})\b|\b({_MONTH})\s+(\d{{1,2}})\b")
_SHARE = re.compile(r"^(?:almost entirely\s+)?([^\d%;]+?),?\s+(?:[<>~]\s*)?\d[\d.]*%")
_US_DOLLAR = re.compile(r"^the US dollar (?:is|became)")
_CURRENCY = re.compile(r"^(.+?)\s*(?:\(([A-Z]{3})\))?\s+per US dollar", re.IGNORECASE)
_AGE = re.compile(r"\b(\d{2})\s+years\s+of\s+age")
_CODE = re.compile(r"\.[a-z]{2}(?=note|\b)")
# Small words inside a name.
_PARTICLES = frozenset(
    "al bin ben bint da dal dan das de del della den der des di do dos du e el ibn ibni la las le los ould te van vel "
    "von y".split()
)
_SAME_COUNTRY = (
    ("US", "USA", "United States"),
    ("UK", "United Kingdom"),
    ("NZ", "New Zealand"),
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
_MAX_ANSWER = 120  # characters
_MAX_NAME, _MAX_PHRASE, _MAX_LANGUAGES = 9, 12, 5  # words; words; languages


@dataclass(frozen=True, slots=True)
class Value:
    """A fact's value: all accepted `answers`, the publisher's form first, and what tells it from another.

    `key` is compared first; `detail` is the date of an office, the year of an estimate or the code of a currency, and
    `others` are the keys of what the text names beside it.
    """

    answers: tuple[str, ...]
    key: str
    detail: str = ""
    others: tuple[str, ...] = ()


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
    vacant = _VACANT.match(clause)
    if _NONE.match(clause) or (vacant and not any(map(in_capitals, vacant[1].split()))):
        return NONE
    name = without_titles(without_brackets(clause, tally), tally)
    words = name.split()
    if (
        not 1 <= len(words) <= _MAX_NAME
        or len(name) > _MAX_ANSWER
        or re.search(r"\d|/|,(?! (?:Jr|Sr))| and | since ", f"{name} ")
    ):
        return UNCLEAR
    if any(word.islower() and not word.startswith("al-") and word not in _PARTICLES for word in words):
        return UNCLEAR
    if not any(in_capitals(word) or roman(word) for word in words):
        return UNCLEAR
    return Stated(Value((name,), folded(name), since(clause)))


def phrase(text: str, tally: Tally) -> Stated:
    """Read a short description, such as a type of government or a country's long name."""
    clauses = without_note(plain(text, tally), tally)
    said = without_brackets(first_clause(clauses, tally), tally)
    if _NONE.match(said):
        return NONE
    if not said or said in ("NA", "N/A") or len(said.split()) > _MAX_PHRASE or len(said) > _MAX_ANSWER:
        return UNCLEAR
    others = (folded(without_brackets(other, Counter())) for other in clauses.split(";")[1:])
    return Stated(Value((said,), folded(said), others=tuple(other for other in others if other)))


def place(text: str, tally: Tally) -> Stated:
    """Read the first place of a text, without the name in other languages that may follow in brackets."""
    said = without_note(plain(text, tally), tally)
    first = re.sub(r"(?<=\w)(?: in [A-Z]\w+)?\s*(?:\(.*)?$", "", first_clause(said, tally))
    if _NONE.match(first):
        return NONE
    if not first[:1].isupper() or len(first.split()) > _MAX_NAME or len(first) > _MAX_ANSWER:
        return UNCLEAR
    others = tuple(map(folded, re.split("[;,]", without_brackets(said, Counter()))))
    return Stated(Value((first,), folded(first), others=others))


def number(unit: str = "") -> Reader:
    """Return a reader of the first number of a text, which is also accepted with its unit."""

    def read(text: str, tally: Tally) -> Stated:
        said = plain(text, tally)
        found = _NUMBER.match(without_brackets(first_clause(said, tally), tally))
        if found is None:
            return UNCLEAR
        answers = (found[1], f"{found[1]} {unit}") if unit else (found[1],)
        return Stated(Value(answers, _plain_number(found[1]), year_of(said)))

    return read


def _plain_number(text: str) -> str:
    bare = text.replace(",", "").replace("$", "").replace("%", "")
    return re.sub(r"\.0+(?=\s|$)", "", re.sub(r"(\.\d*?[1-9])0+(?=\s|$)", r"\1", bare))


def holiday(text: str, tally: Tally) -> Stated:
    """Read the day of the first holiday that a text names."""
    clauses = without_note(plain(text, tally), tally)
    clause = first_clause(clauses, tally)
    found = _DAY.search(without_brackets(clause, tally))
    if found is None:
        return NONE if _NONE.match(clause) else UNCLEAR
    days = [(int(day or late), month or early) for day, month, early, late in _DAY.findall(clauses)]
    day, month = (found[1], found[2]) if found[1] else (found[4], found[3])
    spelled = f"{int(day)} {month}"
    others = tuple(f"{number} {name}" for number, name in days)
    return Stated(Value((spelled, f"{month} {int(day)}"), spelled, others=others))


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
    said = plain(text, tally)
    if _US_DOLLAR.match(said):
        return Stated(Value(("US dollar", "US dollars", "the US dollar"), "us dollar", "USD"))
    found = _CURRENCY.match(said)
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
