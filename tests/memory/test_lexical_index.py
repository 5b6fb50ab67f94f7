"""BM25 against scores worked out by hand, and against a second implementation written out term by term."""

import math
import random
from collections.abc import Mapping

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.memory.lexical_index import Bm25, terms_of


def index_of(documents: Mapping[str, str]) -> Bm25:
    bm25 = Bm25(k1=1.2, b=0.75)
    for document_id, text in documents.items():
        bm25.add(document_id, text)
    return bm25


def written_out(documents: Mapping[str, str], query: str, k1: float, b: float) -> dict[str, float]:
    """Score every document by the formula of the module's docstring."""
    lists = {document_id: terms_of(text) for document_id, text in documents.items()}
    average = sum(map(len, lists.values())) / len(lists)
    scores = dict.fromkeys(lists, 0.0)
    for term in terms_of(query):
        n = sum(term in terms for terms in lists.values())
        idf = math.log(1 + (len(lists) - n + 0.5) / (n + 0.5))
        for document_id, terms in lists.items():
            f = terms.count(term)
            scores[document_id] += idf * f * (k1 + 1) / (f + k1 * (1 - b + b * len(terms) / average))
    return scores


def test_scores_are_those_worked_out_by_hand() -> None:
    bm25 = index_of({"1": "the cat sat", "2": "The dog sat, sat!", "3": "a bird"})
    # N = 3, average length 3. "sat": n = 2, idf = ln(1 + 1.5 / 2.5) = 0.470004
    # 1: f = 1, |d| = 3: 2.2 / (1 + 1.2) = 1            -> 0.470004
    # 2: f = 2, |d| = 4: 4.4 / (2 + 1.2 * 1.25) = 1.257143 -> 0.590862
    found = bm25.search("SAT", 5)
    assert [name for name, _ in found] == ["2", "1"]
    assert [score for _, score in found] == pytest.approx([0.590862, 0.470004], abs=1e-6)


def test_a_query_without_known_terms_finds_nothing() -> None:
    bm25 = index_of({"1": "the cat"})
    assert bm25.search("zebra", 3) == []
    assert bm25.search("", 3) == []
    assert Bm25(k1=1.2, b=0.75).search("cat", 3) == []


def test_equal_scores_are_ordered_by_insertion() -> None:
    bm25 = index_of(dict.fromkeys("zyxwv", "same text"))
    assert [name for name, _ in bm25.search("same", 3)] == ["z", "y", "x"]


def test_a_removed_document_leaves_no_trace() -> None:
    texts = {"1": "the cat sat", "2": "the dog sat", "3": "the cat ran far away"}
    bm25 = index_of(texts)
    assert bm25.remove("3")
    assert not bm25.remove("3")
    assert bm25.search("the cat sat", 9) == index_of({"1": texts["1"], "2": texts["2"]}).search("the cat sat", 9)
    bm25.add("3", "a cat")
    assert len(bm25) == 3
    assert {name for name, _ in bm25.search("cat", 9)} == {"1", "3"}


def test_adding_a_stored_id_is_refused() -> None:
    with pytest.raises(UserError, match="already indexed"):
        index_of({"1": "a"}).add("1", "b")


def test_scores_equal_the_formula_as_documents_come_and_go() -> None:
    draw = random.Random(0)
    words = [f"w{i}" for i in range(30)]
    texts = {str(i): " ".join(draw.choices(words, k=draw.randint(1, 40))) for i in range(60)}
    bm25 = Bm25(k1=0.9, b=0.4)
    live: dict[str, str] = {}
    for document_id, text in texts.items():
        bm25.add(document_id, text)
        live[document_id] = text
        if draw.random() < 0.3:
            gone = draw.choice(list(live))
            bm25.remove(gone)
            del live[gone]
        query = " ".join(draw.choices(words, k=4))
        expected = {name: score for name, score in written_out(live, query, 0.9, 0.4).items() if score}
        assert dict(bm25.search(query, 100)) == pytest.approx(expected)
