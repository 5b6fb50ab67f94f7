"""Scores of one generated answer against its references, as pure functions of strings.

SQuAD's normalization, exact match and token F1 (Rajpurkar et al. 2016, arXiv 1606.05250), and the two variants of MAC's
released code (Tack et al. 2024, arXiv 2403.04317), which compares with a single answer, the shortest reference:

    em_prefix    1 if the normalized prediction *starts with the characters* of the normalized reference, so that
                 "100 people" counts for "10"; there anything counts for "The", whose normalization is empty
    f1_shortest  token F1 against that reference alone

Deviations from SQuAD: a number keeps its sign (also in front of a currency's), its decimal point, fraction bar, colon,
caret and exponent, so that 3.5 is not 35, -4 not 4, -$4 not $4, 1/2 not 12, 12:30 not 1230 and 1e-5 not 1e5; a
reference of which nothing would be left, such as "A" or "the", is compared as a label, F1 included.

Chinese, Japanese, Thai, Lao, Burmese and Khmer have no spaces: there F1 counts characters, and their full-width marks
are dropped as ASCII punctuation is.

Labels are compared without that normalization: case and white space alone do not count, and case does where it alone
tells two of the choices apart. `first_choice` is TRACE's score
of ScienceQA (Wang et al. 2023, arXiv 2310.06762), whose answers begin with the letter of the choice and go on with a
reason; an empty answer is wrong there, where TRACE's code stops.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from cmt_cli.evaluation.unspaced import apart

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WIDE_MARKS = "".join(map(chr, (*range(0x3001, 0x3005), *range(0x3008, 0x3021), *range(0xFF01, 0xFF10))))
_WIDE_MARKS += "".join(map(chr, (*range(0xFF1A, 0xFF21), *range(0xFF3B, 0xFF41), *range(0xFF5B, 0xFF66), 0x30FB)))
_PUNCTUATION = str.maketrans("", "", string.punctuation + _WIDE_MARKS)
# A sign counts where it does not join two words or numbers, as in "covid-19" and "1914-18".
_SIGN = r"(?:(?<!\w)[-+\u2212](?:us)?[$\u00a3\u20ac\u00a5]?)?"
_DIGITS = r"(?:\d+(?:[.,/:^]\d+)*|(?<![\w.])\.\d+)"
_NUMBER = re.compile(rf"{_SIGN}{_DIGITS}(?:e[-+\u2212]?\d+\b)?")
_THOUSANDS = re.compile(r",(?=\d{3}(?!\d))")
# Stand for the marks of a number while punctuation is dropped.
_MARKS = "-./,:^"
_KEPT = str.maketrans({mark: chr(0xE000 + i) for i, mark in enumerate(_MARKS)} | {"\u2212": "\ue000"})
_RESTORED = str.maketrans({chr(0xE000 + i): mark for i, mark in enumerate(_MARKS)})


def normalize(text: str) -> str:
    """Return lower-cased text without ASCII punctuation outside numbers, English articles and repeated white space."""
    kept = _NUMBER.sub(lambda number: _THOUSANDS.sub("", number[0]).translate(_KEPT), text.lower())
    return " ".join(_ARTICLES.sub(" ", kept.translate(_PUNCTUATION)).translate(_RESTORED).split())


def as_label(text: str) -> str:
    """Return text in which case and white space do not count."""
    return _spaced(text).casefold()


def _spaced(text: str) -> str:
    return " ".join(text.split())


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """Return 1 if the normalized prediction equals any normalized reference, else 0."""
    return float(any(_alike(prediction, reference) for reference in references))


def _alike(prediction: str, reference: str) -> bool:
    normalized = normalize(reference)
    return normalize(prediction) == normalized if normalized else as_label(prediction) == as_label(reference)


def em_prefix(prediction: str, references: Sequence[str]) -> float:
    """Return 1 if the normalized prediction starts with the normalized shortest reference, else 0."""
    reference = shortest(references)
    normalized = normalize(reference)
    return float(normalize(prediction).startswith(normalized) if normalized else _alike(prediction, reference))


def token_f1(prediction: str, references: Sequence[str]) -> float:
    """Return the largest F1 of normalized tokens over the references."""
    return max(_f1_of(prediction, reference) for reference in references)


def f1_shortest(prediction: str, references: Sequence[str]) -> float:
    """Return the F1 of normalized tokens against the shortest reference."""
    return token_f1(prediction, [shortest(references)])


def same_label(prediction: str, label: str, choices: Sequence[str] = ()) -> float:
    """Return 1 if the prediction is the label, whatever its white space and, unless `choices` need it, case, else 0."""
    form = _label_form(choices)
    return float(form(prediction) == form(label))


def label_f1(prediction: str, label: str, choices: Sequence[str] = ()) -> float:
    """Return the F1 of the words of a prediction and a label, whatever their case unless `choices` need it."""
    form = _label_form(choices)
    said, wanted = apart(form(prediction)).split(), apart(form(label)).split()
    return _f1(said, wanted) if wanted else float(said == wanted)


def _label_form(choices: Sequence[str]) -> Callable[[str], str]:
    """Return how labels are compared: case counts where two of the choices differ in nothing else, as "A" and "a"."""
    cased = set(map(_spaced, choices))
    return as_label if len(set(map(str.casefold, cased))) == len(cased) else _spaced


def first_choice(prediction: str, target: str) -> float:
    """Return 1 if the prediction begins with the target's first character that is no white space, else 0."""
    return float(bool(prediction.strip()) and prediction.strip()[0] == target.strip()[:1])


def shortest(references: Sequence[str]) -> str:
    """Return the reference with the fewest characters, the first of equals."""
    return min(references, key=len)


def _f1_of(prediction: str, reference: str) -> float:
    said, wanted = apart(normalize(prediction)).split(), apart(normalize(reference)).split()
    return _f1(said, wanted) if wanted else float(_alike(prediction, reference))


def _f1(prediction: Sequence[str], reference: Sequence[str]) -> float:
    overlap = sum((Counter(prediction) & Counter(reference)).values())
    return 2 * overlap / (len(prediction) + len(reference))
