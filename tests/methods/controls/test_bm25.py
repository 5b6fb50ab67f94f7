"""Retrieval of text: the passage that shares the question's words is read and named."""

from __future__ import annotations

from typing import Any

import pytest

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Answer, Document, Episodes, Prompt, Task
from cmt_cli.methods.controls.bm25 import Bm25, split
from tests.methods.recorder import Recorder
from tests.training.sessions import MemorySession, trainer

DECODING = Decoding(max_new_tokens=4, batch_size=2, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
DOCUMENTS = [
    Document("ada", "Ada works in London and likes bridges."),
    Document("mara", "Mara moved to Turin."),
    Document("bo", "The mill burned down."),
]


def make(**changes: Any) -> Bm25:
    values: dict[str, Any] = {
        "num_passages": 1,
        "passage_words": None,
        "k1": 0.9,
        "b": 0.4,
        "context_template": "{document}\n{prompt}",
    }
    return Bm25(**(values | changes))


def learn(learner: Learner, method: Bm25, documents: list[Document]) -> Bm25:
    fit = trainer().bind(learner, method, MemorySession())
    method.before_stream(learner, Episodes(), fit)
    method.learn(learner, Task("t", 0, [d.as_example() for d in documents], documents=documents), fit)
    return method


def ask(learner: Learner, method: Bm25, text: str) -> tuple[str, Answer]:
    recorder: Any = Recorder(learner)
    (answer,) = method.predictor(recorder, 0).generate([Prompt("q", text)], DECODING)
    return recorder.seen[0], answer


def test_the_passage_with_the_questions_words_is_read(tiny_llama: Learner) -> None:
    read, answer = ask(tiny_llama, learn(tiny_llama, make(), DOCUMENTS), "Where did Mara move?")
    assert read == "Mara moved to Turin.\nWhere did Mara move?"
    assert answer.documents == (("mara", 1.0),)


def test_weights_of_several_passages_sum_to_one_best_first(tiny_llama: Learner) -> None:
    method = learn(tiny_llama, make(num_passages=2), DOCUMENTS)
    read, answer = ask(tiny_llama, method, "Mara Turin Ada?")
    assert read == f"{DOCUMENTS[1].text}\n{DOCUMENTS[0].text}\nMara Turin Ada?"
    assert [name for name, _ in answer.documents] == ["mara", "ada"]
    assert sum(weight for _, weight in answer.documents) == pytest.approx(1.0)


def test_passages_of_one_document_are_summed(tiny_llama: Learner) -> None:
    document = Document("d", "Turin one two three. Turin four five six.")
    _, answer = ask(tiny_llama, learn(tiny_llama, make(num_passages=2, passage_words=4), [document]), "Turin?")
    assert [name for name, _ in answer.documents] == ["d"]
    assert answer.documents[0][1] == pytest.approx(1.0)


def test_without_a_shared_word_the_prompt_is_unchanged(tiny_llama: Learner) -> None:
    read, answer = ask(tiny_llama, learn(tiny_llama, make(), DOCUMENTS), "xyzzy?")
    assert read == "xyzzy?" and answer.documents == ()


def test_an_empty_index_answers_too(tiny_llama: Learner) -> None:
    read, _ = ask(tiny_llama, make(), "Where did Mara move?")
    assert read == "Where did Mara move?"


def test_a_document_with_known_id_replaces_the_old_text(tiny_llama: Learner) -> None:
    method = learn(tiny_llama, make(), DOCUMENTS)
    learn(tiny_llama, method, [Document("mara", "Mara lives in Accra.")])
    read, _ = ask(tiny_llama, method, "Mara?")
    assert read == "Mara lives in Accra.\nMara?"
    assert ask(tiny_llama, method, "Turin?")[0] == "Turin?"


def test_long_documents_become_passages_that_hold_every_word() -> None:
    assert split("a b c d e", 2) == ["a b", "c d", "e"]
    assert split("a b  c", None) == ["a b  c"]


def test_state_round_trip(tiny_llama: Learner) -> None:
    method, other = learn(tiny_llama, make(), DOCUMENTS), make()
    other.load_state_dict(method.state_dict())
    assert other.state_dict() == method.state_dict()
    assert ask(tiny_llama, other, "Where did Mara move?") == ask(tiny_llama, method, "Where did Mara move?")
    assert other.storage_bytes() == sum(len(document.text) for document in DOCUMENTS)


@pytest.mark.parametrize("changes", [{"num_passages": 0}, {"passage_words": 0}])
def test_sizes_below_one_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(UserError, match="at least 1"):
        make(**changes)
