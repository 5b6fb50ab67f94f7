"""Rules that clean a field of a World Factbook profile; a tally counts how often each one changed a text.

The publisher's texts mix a fact with titles, dates, notes and, in later editions, HTML. Each rule does one thing and is
named as the tally shows it.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

Tally = Counter[str]
MAX_TEXT = 4000  # characters of a field that are read: what is asked stands at its beginning
_MAX_NESTED = 4  # brackets in brackets

_TAG = re.compile(r"<[^<>]*>")
_BREAK = re.compile(r"<\s*(?:br|/p)\b[^<>]*>", re.IGNORECASE)
_NOTE = re.compile(r"[;,.:]?\s*[(\[]?\bnotes?\s*(?:\d+)?\s*[-\u2013\u2014:].*$", re.IGNORECASE | re.DOTALL)
_BRACKETS = re.compile(r"\s*[(\[][^()\[\]]*(?:[)\]]|$)")
_SINCE = re.compile(r"\bsince\s+((?:\d{1,2}\s+)?(?:[A-Z][a-z]+\s+)?\d{4})")
_YEAR = re.compile(r"\((?:[^()]*?\b)?((?:19|20)\d\d)\b[^()]*\)")
_OFFICES = frozenset(  # a title wherever it stands before a surname
    "acting administrator affairs ambassador ambassador-at-large ambassador-designate amir archbishop assembly "
    "brig. brigadier chair chairman chairperson chairwoman chancellor charge chargé chief chiefs co-chiefs "
    "co-president co-vice col. colonel commander commander-in-chief commission commissioner confederation consul "
    "council d'affaires forces gen. general government governor governor-general homeland interim leadership "
    "lieutenant lt. maj. maj.gen. minister ministers nuncio prefect premier presidency president president-elect "
    "presidential prime representative representatives republic secretary speaker taoiseach transition "
    "transitional vice vice-admiral vice-marshal".split()
)
_RANKS = frozenset(  # also names of people, so titles only where nothing but titles stands before
    "admiral air apostolic armed bishop captain captains co-prince crown dame dr. duke emperor executive federal "
    "field first grand head high house king leader lord major marshal mayor military mr. mrs. ms. office pope "
    "prince prince-bishop princess prof. professor queen rear regent shaykh sheikh sir sovereign sr. state sultan "
    "supreme territorial".split()
)
_BETWEEN = frozenset("of the and for in to - &".split())
_AFTER_NAME = re.compile(
    r",?\s+(?:represented by|aka|also (?:known|spelled)|formerly|Deputy Prime Ministers|since)\b.*$"
    r"|,\s+(?:Dr|Lt|Maj|Brig|Gen)\..*$",
    re.DOTALL,
)


def plain(text: str, tally: Tally) -> str:
    """Return a text without tags, entities and repeated white space; paragraphs and years are set off by semicolons."""
    text = _counted("HTML tags removed", text, lambda t: _TAG.sub("", _BREAK.sub(" ", t)), tally)
    text = _counted("HTML entities read", text, html.unescape, tally)
    text = text.replace("\u2019", "'").replace("\u2018", "'").replace("++", ";")
    return " ".join(unicodedata.normalize("NFC", text).split()).strip(" ;")


def without_note(text: str, tally: Tally) -> str:
    """Return what stands before a note."""
    return _counted("note cut", text, lambda t: _NOTE.sub("", t), tally).strip(" ;")


def first_clause(text: str, tally: Tally) -> str:
    """Return what stands before the first semicolon that no bracket encloses."""

    def cut(given: str) -> str:
        depth = 0
        for place, letter in enumerate(given):
            depth += (letter in "([") - (letter in ")]")
            if letter == ";" and depth <= 0:
                return given[:place]
        return given

    return _counted("later clauses cut", text, cut, tally).strip()


def without_brackets(text: str, tally: Tally) -> str:
    """Return a text without what stands in brackets, also in brackets that nothing closes."""

    def strip(given: str) -> str:
        for _ in range(_MAX_NESTED):
            given = _BRACKETS.sub("", given)
        return given

    return _counted("brackets removed", text, strip, tally).strip(" ,;")


def without_titles(text: str, tally: Tally) -> str:
    """Return a name without the offices and ranks before it, and without what is said of the person behind it.

    The publisher writes surnames in capitals; a title is no word in capitals. "of ..." behind a name goes, too.
    """

    def strip(given: str) -> str:
        words = _AFTER_NAME.sub("", given).split()
        if len(words) > 1 and in_capitals(words[0]) and words[1].lower() in _OFFICES | _RANKS:
            words = words[1:]  # initials of a body, such as GNU Prime Minister
        surname = next((i for i, word in enumerate(words) if in_capitals(word)), len(words))
        start = 0
        for i, word in enumerate(bare := [word.lower().strip(",") for word in words[:surname]]):
            is_led_by_titles = all(other in _OFFICES | _RANKS | _BETWEEN for other in bare[start:i])
            if word in _OFFICES or (word in _RANKS and is_led_by_titles):
                start = i + 1
        country = re.compile(r"^of\s+(?:the\s+)?[A-Z][a-z]+\s+(?=.*[A-Z]{2})")  # of an office
        name = re.sub(r"(?<=\w)\s+of\s+.*$", "", country.sub("", " ".join(words[start:])))
        return re.sub(r"^(?:of|the)\s+", "", name)

    return _counted("titles removed", text, strip, tally).strip(" ,")


def in_capitals(word: str) -> bool:
    """Return whether a word holds two capitals in a row and is no Roman number."""
    return any(a.isupper() and b.isupper() for a, b in pairwise(word)) and not roman(word)


def roman(word: str) -> bool:
    """Return whether a word is a Roman number as of a monarch."""
    return bool(re.fullmatch(r"[IVX]+", word.strip(",")))


def since(text: str) -> str:
    """Return the date since when somebody is in office, "" where a text has none."""
    found = _SINCE.search(text)
    return " ".join(found[1].split()) if found else ""


def year_of(text: str) -> str:
    """Return the year of the first estimate, "" where a text names none."""
    found = _YEAR.search(text)
    return found[1] if found else ""


def folded(text: str) -> str:
    """Return a text in lower case, without accents, punctuation and articles: what two spellings have in common."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(word for word in re.sub(r"[^\w]+", " ", bare).split() if word not in ("the", "a", "an"))


def _counted(rule: str, text: str, function: Callable[[str], str], tally: Tally) -> str:
    changed = function(text)
    if changed.strip() != text.strip():
        tally[rule] += 1
    return changed
