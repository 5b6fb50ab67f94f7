"""Lexical search: BM25 over an inverted index to which documents can be added, and taken from, at any time.

Robertson & Zaragoza 2009 (Foundations and Trends in IR 3(4)) with the inverse document frequency of Lucene, which is
never negative:

    score(q, d) = sum over terms t of q:  idf(t) * f * (k1 + 1) / (f + k1 * (1 - b + b * |d| / average |d|))
    idf(t)      = ln(1 + (N - n + 0.5) / (n + 0.5))

f: occurrences of t in d; |d|: terms of d; N: documents; n: documents that contain t. A term that occurs twice in the
query counts twice. Terms are runs of letters, digits and underscores, case-folded; no stemming, no list of stop words.
N, n and the average length are those at the time of the search.
"""

from __future__ import annotations

import math
import re
from array import array
from bisect import bisect_left
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from cmt_cli.core.exceptions import UserError

_TERM = re.compile(r"\w+")


def terms_of(text: str) -> list[str]:
    """Return the terms of a text in order."""
    return _TERM.findall(text.casefold())


class Bm25:
    """Documents by id, ranked for a query."""

    def __init__(self, *, k1: float, b: float) -> None:
        """Make an empty index; `k1` bounds the weight of repeated terms, `b` in [0, 1] discounts long documents."""
        self.k1, self.b = k1, b
        self._term_numbers: dict[str, int] = {}
        # by term number: documents that contain it, in order of insertion, and how often
        self._documents: list[array[int]] = []
        self._frequencies: list[array[int]] = []
        self._ids: list[str] = []  # by document number; numbers are never used again
        self._terms: dict[str, array[int]] = {}  # live documents: the numbers of their distinct terms
        self._numbers: dict[str, int] = {}  # live documents: their document number
        self._lengths: array[int] = array("q")
        self._total_length = 0

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._numbers)

    def add(self, document_id: str, text: str) -> None:
        """Store a document. Raises `UserError` if the id is stored already."""
        if document_id in self._numbers:
            raise UserError(
                f"Document '{document_id}' is already indexed. Remove it first, or give the text another id."
            )
        counts = Counter(terms_of(text))
        number = len(self._ids)
        own = array("i")
        for term, frequency in counts.items():
            term_number = self._term_numbers.setdefault(term, len(self._documents))
            if term_number == len(self._documents):
                self._documents.append(array("i"))
                self._frequencies.append(array("i"))
            self._documents[term_number].append(number)
            self._frequencies[term_number].append(frequency)
            own.append(term_number)
        self._ids.append(document_id)
        self._numbers[document_id] = number
        self._terms[document_id] = own
        self._lengths.append(counts.total())
        self._total_length += counts.total()

    def remove(self, document_id: str) -> bool:
        """Take a document out, as if it had never been added; return whether it was stored."""
        number = self._numbers.pop(document_id, None)
        if number is None:
            return False
        for term_number in self._terms.pop(document_id):
            place = bisect_left(self._documents[term_number], number)
            self._documents[term_number].pop(place)
            self._frequencies[term_number].pop(place)
        self._total_length -= self._lengths[number]
        self._ids[number] = ""
        self._lengths[number] = 0
        return True

    def search(self, query: str, k: int) -> list[tuple[str, float]]:
        """Return at most `k` documents that share a term with the query, and their scores, best first.

        Equal scores are ordered by insertion, oldest first.
        """
        scores = np.zeros(len(self._ids))
        for term, occurrences in Counter(terms_of(query)).items():
            term_number = self._term_numbers.get(term)
            if term_number is not None and self._documents[term_number]:
                documents = np.frombuffer(self._documents[term_number], dtype=np.intc)
                scores[documents] += occurrences * self._term_scores(term_number, documents)
        matching = np.flatnonzero(scores)
        if len(matching) > k > 0:
            kth = np.partition(scores[matching], len(matching) - k)[len(matching) - k]
            matching = matching[scores[matching] >= kth]
        best = matching[np.argsort(-scores[matching], kind="stable")][:k]
        return [(self._ids[number], float(scores[number])) for number in best]

    def _term_scores(self, term_number: int, documents: NDArray[np.intc]) -> NDArray[np.float64]:
        frequencies = np.frombuffer(self._frequencies[term_number], dtype=np.intc)
        lengths = np.frombuffer(self._lengths, dtype=np.int64)[documents]
        num_documents, num_matching = len(self._numbers), len(documents)
        idf = math.log(1 + (num_documents - num_matching + 0.5) / (num_matching + 0.5))
        relative_lengths = lengths * (num_documents / self._total_length)
        saturation = frequencies + self.k1 * (1 - self.b + self.b * relative_lengths)
        return idf * frequencies * (self.k1 + 1) / saturation
