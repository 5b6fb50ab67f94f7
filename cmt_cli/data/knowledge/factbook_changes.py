"""Whether a fact of the World Factbook changed between two editions: by its value, not by the string that states it.

Two values are the same fact if they are equal without accents, case and punctuation, or if a rule of their kind says
so. Each rule is named, so that the tally shows how often a difference of strings was none of facts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from cmt_cli.core.stream import Change
from cmt_cli.data.knowledge.factbook_cleaning import Tally
from cmt_cli.data.knowledge.factbook_values import Stated, Value

Rule = Literal[
    "",
    "spelling",
    "parts of the name left out",
    "named among others",
    "same date of office",
    "same code",
    "rounded otherwise",
]
Same = Callable[[Value, Value], Rule | None]
_ALIKE, _ALIKE_IN_OFFICE = 0.88, 0.6  # share of letters that two spellings have in common


def same_person(a: Value, b: Value) -> Rule | None:
    """Compare two people: names may lack given names, and be spelled otherwise where the date of office is equal."""
    words, others = set(a.key.split()), set(b.key.split())
    if a.key == b.key:
        return ""
    if words <= others or others <= words:
        return "parts of the name left out"
    alike = _alikeness(a.key, b.key)
    if a.detail == b.detail and len(a.detail.split()) == 3 and (words & others or alike >= _ALIKE_IN_OFFICE):
        return "same date of office"
    return "spelling" if alike >= _ALIKE else None


def same_phrase(a: Value, b: Value) -> Rule | None:
    """Compare two descriptions or places: one may say more than the other, or name both in another order."""
    words, others = set(a.key.split()), set(b.key.split())
    if a.key == b.key:
        return ""
    if words <= others or others <= words:
        return "parts of the name left out"
    if a.key in b.others or b.key in a.others:
        return "named among others"
    return "spelling" if _alikeness(a.key, b.key) >= _ALIKE else None


def same_key(a: Value, b: Value) -> Rule | None:
    """Compare values that have one form only, where one may be named beside the other."""
    if a.key == b.key:
        return ""
    return "named among others" if a.key in b.others or b.key in a.others else None


def same_currency(a: Value, b: Value) -> Rule | None:
    """Compare currencies by their codes, and by their names where a code is missing."""
    if a.detail and b.detail:
        return None if a.detail != b.detail else "" if a.key == b.key else "same code"
    return same_phrase(a, b)


def same_number(a: Value, b: Value) -> Rule | None:
    """Compare numbers; of the same year's estimate they may be rounded differently."""
    if a.key == b.key:
        return ""
    is_of_one_year = bool(a.detail) and a.detail == b.detail
    return "rounded otherwise" if is_of_one_year and _rounded_alike(a.key, b.key) else None


def same_extent(a: Value, b: Value) -> Rule | None:
    """Compare areas and lengths, which hardly change: they may be rounded differently."""
    return "" if a.key == b.key else "rounded otherwise" if _rounded_alike(a.key, b.key) else None


def _rounded_alike(a: str, b: str) -> bool:
    """Return whether two numbers, maybe in millions, are equal as far as the rougher one goes."""
    digits, scale = a.partition(" ")[::2]
    other, other_scale = b.partition(" ")[::2]
    if scale != other_scale:
        return False
    places = min(len(digits.partition(".")[2]), len(other.partition(".")[2]))
    return abs(float(digits) - float(other)) <= 0.5 * 10.0**-places + 1e-9


def _alikeness(a: str, b: str) -> float:
    return SequenceMatcher(None, a, b, autojunk=False).ratio()


@dataclass(frozen=True, slots=True)
class Asked:
    """A fact of one edition that can be asked: its accepted answers, what became of it, and its former answers."""

    answers: tuple[str, ...]
    change: Change
    earlier: tuple[str, ...]


def history(stated: Sequence[tuple[str, Stated] | None], same: Same, tally: Tally) -> list[Asked | None]:
    """Return what can be asked in each edition about one fact; its `stated` texts come in the order of editions.

    None stands for an edition that does not state the fact, or not clearly; the next one is compared with the last
    value. Answers of a gone fact are empty.
    """
    found: list[Asked | None] = []
    values: list[Value] = []  # different ones so far; the last is the current one
    text, is_gone = "", False
    for given in stated:
        if given is None or (given[1].value is None and not (given[1].is_none and values)):
            found.append(None)
            continue
        value = given[1].value
        if value is None:
            change: Change = "unchanged" if is_gone else "gone"
            found.append(Asked((), "gone", _earlier(values, ())) if change == "gone" else None)
            is_gone = True
            continue
        if not values:
            change = "new"
        else:
            change = _compared(values[-1], value, same, tally, is_equal=given[0] == text) if not is_gone else "changed"
        if change == "unchanged":
            values[-1] = value
        else:
            values = [*(v for v in values if same(v, value) is None), value]
        text, is_gone = given[0], False
        found.append(Asked(value.answers, change, _earlier(values[:-1], value.answers)))
    return found


def _compared(before: Value, now: Value, same: Same, tally: Tally, *, is_equal: bool) -> Change:
    rule = same(before, now)
    if is_equal and rule is not None:
        tally["equal strings"] += 1
    elif rule is None:
        tally["changed facts"] += 1
    else:
        tally[f"no change: {rule}" if rule else "no change: other wording around it"] += 1
    return "unchanged" if rule is not None else "changed"


def _earlier(values: Sequence[Value], current: Sequence[str]) -> tuple[str, ...]:
    """Return the different answers of earlier values, the newest first, but for those that are right now."""
    right = set(map(str.casefold, current))
    every = (answer for value in reversed(values) for answer in value.answers)
    return tuple(dict.fromkeys(answer for answer in every if answer.casefold() not in right))
