"""The oracle reads the gold document of a question, if it has been learned, and never more than the model can take."""

from typing import Any

import pytest

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Document, Episodes, Prompt, Task
from cmt_cli.methods.controls.full_context import FullContext
from cmt_cli.methods.controls.passages import fitted
from tests.methods.recorder import Recorder
from tests.training.sessions import MemorySession, trainer

TEMPLATE = "{document}\n{prompt}"
DECODING = Decoding(max_new_tokens=4, batch_size=2, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
DOCUMENTS = [Document("ada", "Ada works in {London}."), Document("mara", "Mara moved to Turin.")]
QUESTION = "Question: Where?\nAnswer:"


def learned(learner: Learner) -> FullContext:
    method = FullContext(context_template=TEMPLATE)
    fit = trainer().bind(learner, method, MemorySession())
    method.before_stream(learner, Episodes(), fit)
    method.learn(learner, Task("t", 0, [d.as_example() for d in DOCUMENTS], documents=DOCUMENTS), fit)
    return method


def test_the_gold_document_is_read_and_named(tiny_llama: Learner) -> None:
    recorder: Any = Recorder(tiny_llama)
    predictor = learned(tiny_llama).predictor(recorder, 0)
    (answer,) = predictor.generate([Prompt("q", QUESTION, document_ids=("ada",))], DECODING)
    assert recorder.seen == ["Ada works in {London}.\nQuestion: Where?\nAnswer:"]
    assert answer.documents == (("ada", 1.0),)


def test_without_a_known_document_the_prompt_is_unchanged(tiny_llama: Learner) -> None:
    recorder: Any = Recorder(tiny_llama)
    predictor = learned(tiny_llama).predictor(recorder, 0)
    answers = predictor.generate([Prompt("q", QUESTION, document_ids=("later",)), Prompt("r", QUESTION)], DECODING)
    assert recorder.seen == [QUESTION, QUESTION]
    assert [answer.documents for answer in answers] == [(), ()]


def test_several_gold_documents_share_the_weight(tiny_llama: Learner) -> None:
    recorder: Any = Recorder(tiny_llama)
    predictor = learned(tiny_llama).predictor(recorder, 0)
    (answer,) = predictor.generate([Prompt("q", QUESTION, document_ids=("mara", "ada", "later"))], DECODING)
    assert recorder.seen == [f"Mara moved to Turin.\nAda works in {{London}}.\n{QUESTION}"]
    assert dict(answer.documents) == {"mara": 0.5, "ada": 0.5}


def test_long_documents_lose_their_end_and_questions_nothing(tiny_llama: Learner) -> None:
    document = " ".join(f"word{i}" for i in range(200))
    text = fitted(tiny_llama, TEMPLATE, document, QUESTION, room=60)
    assert len(tiny_llama.encode(text)) <= 59
    context, _, question = text.partition("\n")
    assert question == QUESTION
    assert document.startswith(context) and context.startswith("word0 word1")


def test_a_context_that_fits_is_kept_whole(tiny_llama: Learner) -> None:
    assert fitted(tiny_llama, TEMPLATE, "Short.", QUESTION, room=100) == f"Short.\n{QUESTION}"


def test_a_question_without_room_for_any_context_is_kept(tiny_llama: Learner) -> None:
    assert fitted(tiny_llama, TEMPLATE, "Some text.", QUESTION, room=3) == f"\n{QUESTION}"


def test_scores_are_those_of_the_extended_prompt(tiny_gpt2: Learner) -> None:
    predictor = learned(tiny_gpt2).predictor(tiny_gpt2, 0)
    prompt = Prompt("q", QUESTION, document_ids=("mara",))
    expected = tiny_gpt2.loglikelihood([Prompt("q", f"Mara moved to Turin.\n{QUESTION}")], [" Turin"])
    assert predictor.loglikelihood([prompt], [" Turin"]) == pytest.approx(expected)


def test_state_round_trip_and_bytes(tiny_llama: Learner) -> None:
    method, other = learned(tiny_llama), FullContext(context_template=TEMPLATE)
    other.load_state_dict(method.state_dict())
    assert other.state_dict() == method.state_dict()
    assert other.storage_bytes() == sum(len(document.text) for document in DOCUMENTS)


@pytest.mark.parametrize(
    "template", ["{document}", "{prompt} {text}", "{document} {prompt} {", "{} {document}{prompt}"]
)
def test_a_template_that_cannot_be_filled_is_refused(template: str) -> None:
    with pytest.raises(UserError, match="context_template"):
        FullContext(context_template=template)
