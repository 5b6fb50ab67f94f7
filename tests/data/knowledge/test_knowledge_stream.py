"""A corpus becomes a stream: batches of documents, their questions, and episodes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Document, Provenance, Stream
from cmt_cli.data.knowledge.knowledge_stream import QuestionFormat, batches, knowledge_stream
from cmt_cli.data.knowledge.qa_corpus import Part, QACorpus, Question
from tests.data.written_files import selection


def part(split: str, num_documents: int, dates: tuple[str | None, ...] = ()) -> Part:
    documents = tuple(
        Document(f"{split}{index}", f"{split} text {index}", dates[index] if dates else None)
        for index in range(num_documents)
    )
    questions = tuple(
        Question(f"{document.id}-{number}", f"Who {number}?", ("the big one", "big one"), document.id)
        for document in documents
        for number in range(3)
    )
    return Part((split,), documents, questions, {document.id: document.id for document in documents})


def stream(*parts: Part, num_tasks: int = 2, capitalize: bool = False, **changes: Any) -> Stream:
    return knowledge_stream(
        QACorpus(parts, ()),
        selection(**changes),
        num_tasks=num_tasks,
        questions=QuestionFormat(prompt_template="Question: {question}\nAnswer:", capitalize_answers=capitalize),
        provenance=Provenance("made up", "real", "none", {"f": "0" * 64}, note="first note"),
    )


def test_documents_become_consecutive_batches_with_a_test_set_each() -> None:
    built = stream(part("train", 2), part("validation", 1), part("test", 5))
    assert [[document.id for document in task.documents] for task in built.tasks] == [
        ["test0", "test1"],
        ["test2", "test3", "test4"],
    ]
    assert [task.name for task in built.tasks] == [test.name for test in built.tests] == ["batch_00", "batch_01"]
    assert [test.learned_at for test in built.tests] == [0, 1]
    assert {test.metric for test in built.tests} == {"em"}
    assert [example.id for example in built.tests[0].examples][:4] == ["test0-0", "test0-1", "test0-2", "test1-0"]
    assert list(built.tasks[0].train) == [document.as_example() for document in built.tasks[0].documents]


def test_batch_sizes_differ_by_at_most_one() -> None:
    documents = [Document(str(index), str(index)) for index in range(103)]
    cut = batches(documents, 10)
    assert sorted({len(batch) for batch in cut}) == [10, 11]
    assert [document for batch in cut for document in batch] == documents


def test_target_is_the_shortest_of_all_kept_references() -> None:
    example = stream(part("test", 2)).tests[0].examples[0]
    assert example.prompt == "Question: Who 0?\nAnswer:"
    assert example.target == " big one"
    assert example.references == ("the big one", "big one")
    assert example.document_ids == ("test0",)


def test_capitalizing_changes_the_target_and_no_reference() -> None:
    example = stream(part("test", 2), capitalize=True).tests[0].examples[0]
    assert example.target == " Big one"
    assert example.references == ("the big one", "big one")


def test_braces_of_a_question_are_left_alone() -> None:
    question = Question("q", "What is {x} in {question}?", ("a",), "d")
    example = QuestionFormat(prompt_template="{question} A:", capitalize_answers=False).example(question)
    assert example.prompt == "What is {x} in {question}? A:"


def test_episodes_have_one_document_and_all_its_questions() -> None:
    built = stream(part("train", 3), part("validation", 1), part("test", 2))
    assert [[document.id for document in episode.support] for episode in built.episodes.train] == [
        ["train0"],
        ["train1"],
        ["train2"],
    ]
    assert [example.id for example in built.episodes.train[1].query] == ["train1-0", "train1-1", "train1-2"]
    assert len(built.episodes.validation) == 1


def test_documents_without_questions_are_learned_but_never_tested() -> None:
    silent = Part(("test",), (Document("s", "silent"), Document("t", "t")), (Question("q", "?", ("a",), "t"),))
    built = stream(silent, Part(("train",), (Document("u", "u"),)))
    assert [len(task.documents) for task in built.tasks] == [1, 1]
    assert [(test.name, test.learned_at) for test in built.tests] == [("batch_01", 1)]
    assert built.episodes.train == []


def test_the_validation_split_can_replace_the_test_split() -> None:
    parts = part("train", 2), part("validation", 5), part("test", 3)
    built = stream(*parts, stream_split="validation", max_test_documents=4, max_test_questions_per_document=1)
    assert [[document.id for document in task.documents] for task in built.tasks] == [
        ["validation0", "validation1"],
        ["validation2", "validation3"],
    ]
    assert [[example.id for example in test.examples] for test in built.tests] == [
        ["validation0-0", "validation1-0"],
        ["validation2-0", "validation3-0"],
    ]
    assert list(built.episodes.train) == list(stream(*parts).episodes.train)
    assert built.episodes.validation == []
    assert built.provenance.split == "validation" and stream(*parts).provenance.split == "test"
    assert "the VALIDATION split is streamed, so this is no test result" in built.provenance.note
    assert "VALIDATION" not in stream(*parts).provenance.note


def test_a_validation_stream_ignores_the_test_split() -> None:
    parts = part("train", 2), part("validation", 5)
    assert stream(*parts, part("test", 3), stream_split="validation") == stream(*parts, stream_split="validation")


def test_order_by_date_is_stable() -> None:
    dates = ("2020-03-01", "2020-01-01", "2020-03-01", "2020-02-01T10:00:00")
    built = stream(part("test", 4, dates), num_tasks=4, order="date")
    assert [task.documents[0].id for task in built.tasks] == ["test1", "test3", "test0", "test2"]


def test_order_by_date_names_the_first_document_without_one() -> None:
    with pytest.raises(UserError, match=r"1 of 2 have none \(the first is 'test1'\)"):
        stream(part("test", 2, ("2020-03-01", None)), order="date")


def test_limits_take_the_first_documents_and_questions() -> None:
    built = stream(
        part("train", 9),
        part("test", 9),
        max_train_documents=4,
        max_test_documents=3,
        max_test_questions_per_document=2,
    )
    assert [document.id for task in built.tasks for document in task.documents] == ["test0", "test1", "test2"]
    assert [len(test.examples) for test in built.tests] == [2, 4]
    assert len(built.episodes.train) == 4
    assert len(built.episodes.train[0].query) == 3


def test_random_picks_keep_file_order_and_follow_their_seed() -> None:
    def picked(seed: int) -> list[int]:
        built = stream(part("test", 50), pick="random", pick_seed=seed, max_test_documents=10)
        return [int(document.id.removeprefix("test")) for task in built.tasks for document in task.documents]

    assert all(first < second for first, second in pairwise(picked(0)))
    assert picked(0) == picked(0) != picked(1)


def test_the_note_tells_sizes_merged_texts_and_leaks() -> None:
    shared = Part(("train",), (Document("x", "test text 0"),), num_duplicates=2)
    note = stream(shared, part("test", 2)).provenance.note
    assert note.startswith("first note; train 1 document, 0 questions, ids ")
    assert "test 2 documents, 6 questions" in note
    assert "2 documents of equal text merged" in note
    assert "1 test document also occurs in train or validation" in note


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"order": "dates"}, "selection.order='dates' is not known; allowed: file, date. Did you mean 'date'?"),
        ({"stream_split": "train"}, "selection.stream_split='train' is not known; allowed: test, validation."),
        (
            {"stream_split": "validation", "max_validation_documents": 3},
            "selection.stream_split=validation streams that split instead",
        ),
        ({"stream_split": "validation"}, "num_tasks=2 does not fit 0 documents to stream"),
        ({"pick": "last"}, "selection.pick='last' is not known; allowed: first, random."),
        ({"max_test_documents": 0}, "selection.max_test_documents=0 takes nothing"),
        ({"num_tasks": 3}, "num_tasks=3 does not fit 2 documents to stream; give 1 to 2"),
        ({"num_tasks": 0}, "num_tasks=0 does not fit"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        stream(part("test", 2), **changes)


def test_a_template_without_a_question_field_is_refused() -> None:
    with pytest.raises(UserError, match="has no place for the question"):
        QuestionFormat(prompt_template="Question:", capitalize_answers=False)


def test_a_stream_without_questions_is_refused() -> None:
    with pytest.raises(UserError, match="has no question about a document of the test split"):
        stream(Part(("test",), (Document("a", "a"), Document("b", "b"))))
