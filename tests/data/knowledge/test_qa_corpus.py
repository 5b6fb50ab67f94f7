"""A corpus: documents merged by text, questions re-pointed, and undivided files cut by whole groups."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Document
from cmt_cli.data.files.origin import Shares
from cmt_cli.data.files.problems import Problem, Row
from cmt_cli.data.knowledge.qa_corpus import (
    SPLITS,
    Ids,
    Part,
    PartBuilder,
    QACorpus,
    Question,
    apportion,
    divide,
)

HERE = Row({}, Path("rows.jsonl"), 3)


def grouped_part(num_groups: int, documents_per_group: int = 2) -> Part:
    documents = [
        Document(f"{group}/{index}", f"text {group} {index}")
        for group in range(num_groups)
        for index in range(documents_per_group)
    ]
    questions = [Question(f"q{document.id}", "?", ("a",), document.id) for document in documents]
    return Part(SPLITS, tuple(documents), tuple(questions), {document.id: document.id[0] for document in documents})


def test_documents_of_equal_text_become_the_first_of_them() -> None:
    problems: list[Problem] = []
    builder = PartBuilder(("test",), problems, Ids())
    assert builder.add_document(HERE, Document("a", "same"), "a") == "a"
    assert builder.add_document(HERE, Document("b", "same"), "b") == "a"
    builder.add_question(HERE, Question("q", "?", ("x",), "a"))
    part = builder.build()
    assert [document.id for document in part.documents] == ["a"]
    assert part.num_duplicates == 1
    assert builder.kept_id("b") == "a"
    assert builder.kept_id("c") is None
    assert problems == []


def test_one_id_for_two_texts_across_files_is_refused() -> None:
    problems: list[Problem] = []
    ids = Ids()
    train, test = PartBuilder(("train",), problems, ids), PartBuilder(("test",), problems, ids)
    train.add_document(HERE, Document("a", "one"), "a")
    assert test.add_document(HERE, Document("a", "another"), "a") is None
    assert [problem.message for problem in problems] == ["the document id 'a' occurs twice, with different texts"]


def test_a_repeated_question_id_is_a_problem() -> None:
    problems: list[Problem] = []
    builder = PartBuilder(("test",), problems, Ids())
    for _ in range(2):
        builder.add_question(HERE, Question("q", "?", ("x",), "a"))
    assert [(problem.line, problem.message) for problem in problems] == [(3, "the question id 'q' occurs twice")]
    assert len(builder.build().questions) == 1


@pytest.mark.parametrize(
    ("count", "shares", "expected"),
    [
        (48, [0.6667, 0.16665, 0.16665], [32, 8, 8]),
        (3, [0.98, 0.01, 0.01], [1, 1, 1]),
        (10, [2.0, 1.0], [7, 3]),
        (5, [1.0], [5]),
    ],
)
def test_counts_follow_the_shares_and_none_is_left_out(count: int, shares: list[float], expected: list[int]) -> None:
    assert apportion(count, shares) == expected


@given(shares=st.lists(st.floats(0.001, 100), min_size=1, max_size=3), count=st.integers(3, 500))
def test_counts_always_sum_to_the_whole(shares: list[float], count: int) -> None:
    counts = apportion(count, shares)
    assert sum(counts) == count
    assert min(counts) >= 1


def test_groups_stay_together_and_splits_cover_every_document() -> None:
    part = grouped_part(9)
    cut = divide(part, Shares(train=0.5, validation=0.2, test=0.3, seed=0))
    groups = [{part.groups[document.id] for document in piece.documents} for piece in cut]
    assert sorted(map(len, groups)) == [2, 2, 5] or sorted(map(len, groups)) == [2, 3, 4]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 9
    for piece in cut:
        assert [question.document_id for question in piece.questions] == [document.id for document in piece.documents]


def test_division_depends_on_the_seed_not_file_order() -> None:
    part = grouped_part(9)
    reversed_part = Part(part.splits, part.documents[::-1], part.questions[::-1], part.groups)

    def ids_of_test_split(part: Part, seed: int) -> set[str]:
        corpus = QACorpus((part,), ()).divided(Shares(train=1, validation=1, test=1, seed=seed))
        return {document.id for document in corpus.part("test").documents}

    assert ids_of_test_split(part, 0) == ids_of_test_split(reversed_part, 0)
    assert len({frozenset(ids_of_test_split(part, seed)) for seed in range(5)}) > 1


def test_documents_that_nobody_asks_about_are_streamed() -> None:
    part = grouped_part(3, documents_per_group=1)
    silent = Document("z", "nobody asks")
    part = Part(SPLITS, (*part.documents, silent), part.questions, {**part.groups, "z": "z"})
    corpus = QACorpus((part,), ()).divided(Shares(train=1, validation=1, test=1, seed=0))
    assert silent in corpus.part("test").documents
    assert len(corpus.part("train").documents) == 1


def test_a_share_of_zero_leaves_its_split_empty() -> None:
    corpus = QACorpus((grouped_part(2),), ()).divided(Shares(train=0, validation=0, test=1, seed=0))
    assert corpus.part("train") == Part(("train",))
    assert len(corpus.part("test").documents) == 4


def test_impossible_divisions_are_refused() -> None:
    with pytest.raises(UserError, match="2 groups of documents with questions cannot be divided into train, valid"):
        divide(grouped_part(2), Shares(train=1, validation=1, test=1, seed=0))
    with pytest.raises(UserError, match="the test share is above 0"):
        Shares(train=1, validation=0, test=0, seed=0)


def test_files_with_their_own_splits_are_not_cut() -> None:
    corpus = QACorpus((Part(("test",), grouped_part(2).documents),), ())
    shares = Shares(train=0.5, validation=0.2, test=0.3, seed=4)
    assert corpus.divided(shares) == corpus
    assert corpus.division_note(shares) == ""
    assert "0.5/0.2/0.3" in QACorpus((grouped_part(3),), ()).division_note(shares)
