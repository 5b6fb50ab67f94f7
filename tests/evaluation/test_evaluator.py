"""The evaluator asks a predictor prompts without answers and turns what it says into one row of the matrix."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from cmt_cli.core.batch import Predictor
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import Interrupted, UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Answer, AnswerForm, Example, Prompt, TestSet
from cmt_cli.evaluation.evaluator import Evaluator, TestScore


class Oracle:
    """Answers from a table and keeps what it was asked."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self.answers = answers
        self.batches: list[list[Prompt]] = []

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
        self.batches.append(list(prompts))
        return [self.answers[prompt.id] for prompt in prompts]

    def loglikelihood(self, prompts: Sequence[Prompt], targets: Sequence[str]) -> list[float]:
        return [-float(len(target)) for target in targets]  # the shortest choice is the likeliest


def question(id: str, answer: str, documents: tuple[str, ...] = ()) -> Example:
    return Example(id, f"Question: {id}?\nAnswer:", f" {answer}", references=(answer,), document_ids=documents)


FIRST = TestSet("first", (question("a", "Turin", ("d1",)), question("b", "Lagos", ("d2",))), "em", 0)
SECOND = TestSet("second", (question("c", "1987", ("d3",)),), "em", 1)
PROBE = TestSet(
    "probe",
    (
        Example("p", "The sky is", " blue", choices=(" blue", " made of cheese")),
        Example("q", "So", " long", choices=(" a", " long")),
    ),
    "accuracy",
    None,
)
ANSWERS = {
    "a": Answer("Turin", (("d1", 0.7), ("d9", 0.2))),
    "b": Answer("city of Lagos", (("d9", 0.6), ("d2", 0.3))),
    "c": Answer("", ()),
}


def evaluator(rows: str = "all", batch_size: int = 2, limit: int | None = None) -> Evaluator:
    decoding = Decoding(max_new_tokens=4, batch_size=batch_size, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
    return Evaluator(decoding=decoding, rows=rows, max_examples_per_test=limit)


def evaluate(
    predictor: Predictor,
    tests: Sequence[TestSet],
    row: int = 1,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    chosen: Evaluator | None = None,
) -> list[TestScore]:
    return (chosen or evaluator()).evaluate(predictor, tests, row=row, progress=progress, stop_requested=stop)


def test_a_note_says_that_not_every_example_is_asked() -> None:
    assert evaluator(limit=1).note([FIRST, SECOND]) == (
        "evaluated are 2 of 3 test examples, at most 1 of each test set, evenly spaced"
    )
    assert evaluator(limit=2).note([FIRST, SECOND]) == evaluator().note([FIRST]) == ""


def test_scores_are_means_over_a_tests_examples() -> None:
    first, second, probe = evaluate(Oracle(ANSWERS), [FIRST, SECOND, PROBE])
    assert first.test == "first"
    assert first.scores == {
        "em": 0.5,
        "em_prefix": 0.5,
        "f1": pytest.approx((1.0 + 2 / 4) / 2),
        "f1_shortest": pytest.approx((1.0 + 2 / 4) / 2),
        "answer_words": 2.0,
        "empty_rate": 0.0,
        "eos_rate": None,
        "recall_at_1": 0.5,
        "recall_at_k": 1.0,
    }
    assert second.scores["empty_rate"] == 1.0
    assert second.scores["recall_at_1"] is None  # no answer of this test names a document
    assert probe.scores == {"accuracy": 0.5, "recall_at_1": None, "recall_at_k": None}


def test_eos_rate_is_over_the_generated_answers() -> None:
    answers = {"a": Answer("Turin", ended=True), "b": Answer("Lagos and", ended=False), "c": Answer("a label")}
    first, second = evaluate(Oracle(answers), [FIRST, SECOND])
    assert first.scores["eos_rate"] == 0.5
    assert second.scores["eos_rate"] is None


def test_answers_without_documents_miss_where_others_have_some() -> None:
    answers = ANSWERS | {"b": Answer("Lagos")}
    (first,) = evaluate(Oracle(answers), [FIRST])
    assert first.scores["recall_at_1"] == 0.5
    assert first.scores["recall_at_k"] == 0.5


def test_no_target_reaches_the_predictor() -> None:
    oracle = Oracle(ANSWERS)
    evaluate(oracle, [FIRST, SECOND])
    asked = [prompt for batch in oracle.batches for prompt in batch]
    assert {type(prompt) for prompt in asked} == {Prompt}
    assert all("Turin" not in repr(prompt) and "Lagos" not in repr(prompt) for prompt in asked)


def test_batches_span_tests_and_their_size_changes_nothing() -> None:
    small, large = Oracle(ANSWERS), Oracle(ANSWERS)
    in_ones = evaluate(small, [FIRST, SECOND], chosen=evaluator(batch_size=1))
    assert in_ones == evaluate(large, [FIRST, SECOND], chosen=evaluator(batch_size=8))
    assert [len(batch) for batch in small.batches] == [1, 1, 1]
    assert [len(batch) for batch in large.batches] == [3]


def test_predictions_are_records_in_the_order_of_the_examples() -> None:
    (first,) = evaluate(Oracle(ANSWERS), [FIRST])
    assert [record["id"] for record in first.predictions] == ["a", "b"]
    assert json.loads(json.dumps(first.predictions[0])) == {
        "test": "first",
        "id": "a",
        "prompt": "Question: a?\nAnswer:",
        "target": " Turin",
        "references": ["Turin"],
        "prediction": "Turin",
        "scores": {"em": 1.0, "em_prefix": 1.0, "f1": 1.0, "f1_shortest": 1.0, "answer_words": 1.0, "empty_rate": 0.0}
        | {"eos_rate": None, "recall_at_1": 1.0, "recall_at_k": 1.0},
        "documents": [["d1", 0.7], ["d9", 0.2]],
    }


@pytest.mark.parametrize(
    ("rows", "row", "scored"),
    [
        ("all", 0, ["first", "second", "probe"]),
        ("lower", 0, ["probe"]),
        ("lower", 1, ["first", "probe"]),
        ("lower", 2, ["first", "second", "probe"]),
        ("last", 1, []),
        ("last", 2, ["first", "second", "probe"]),
    ],
)
def test_skipped_tests_have_no_score_rather_than_zero(rows: str, row: int, scored: list[str]) -> None:
    results = evaluate(Oracle(ANSWERS), [FIRST, SECOND, PROBE], row=row, chosen=evaluator(rows))
    assert [result.test for result in results] == ["first", "second", "probe"]
    for result in results:
        values = set(result.scores.values())
        assert (values != {None}) == (result.test in scored)
        assert bool(result.predictions) == (result.test in scored)


def test_a_limit_takes_evenly_spaced_examples() -> None:
    many = TestSet("many", tuple(question(str(i), "x") for i in range(10)), "em", 0)
    oracle = Oracle({str(i): Answer("x") for i in range(10)})
    (result,) = evaluate(oracle, [many], chosen=evaluator(limit=4))
    assert [record["id"] for record in result.predictions] == ["0", "2", "5", "7"]


def test_a_stop_between_batches_interrupts() -> None:
    stops = iter([False, True])
    oracle = Oracle(ANSWERS)
    with pytest.raises(Interrupted):
        evaluate(oracle, [FIRST, SECOND], chosen=evaluator(batch_size=1), stop=lambda: next(stops))
    assert len(oracle.batches) == 1


def test_progress_counts_examples_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    evaluate(Oracle(ANSWERS), [FIRST, SECOND], progress=lambda what, done, total: seen.append((done, total)))
    assert seen == [(2, 3), (3, 3)]


def test_unknown_settings_are_refused_with_the_nearest_match() -> None:
    with pytest.raises(UserError, match="Did you mean 'lower'"):
        evaluator(rows="lowr")
    with pytest.raises(UserError, match="allowed are em, f1, accuracy"):
        evaluate(Oracle(ANSWERS), [TestSet("x", FIRST.examples, "bluer", 0)])
    with pytest.raises(UserError, match="every_steps=0 must be at least 1, or null"):
        Evaluator(decoding=evaluator().decoding, rows="all", max_examples_per_test=None, every_steps=0)


def test_a_real_learner_is_evaluated(tiny_llama: Learner) -> None:
    results = evaluate(tiny_llama, [FIRST, PROBE])
    assert results[0].scores["em"] == 0.0
    assert results[1].scores["accuracy"] in (0.0, 0.5, 1.0)


def test_a_multiple_choice_test_without_choices_is_refused() -> None:
    with pytest.raises(UserError, match="example 'a' has no choices"):
        evaluate(Oracle(ANSWERS), [TestSet("x", FIRST.examples, "accuracy", 0)])


def test_decoding_follows_each_tests_answer_length_and_lines() -> None:
    asked: dict[str, Decoding] = {}

    class Recorder(Oracle):
        def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
            asked.update({prompt.id: decoding for prompt in prompts})
            return super().generate(prompts, decoding)

    long = replace(SECOND, name="long", answers=AnswerForm(max_new_tokens=9, is_one_line=False))
    short = replace(FIRST, answers=AnswerForm(max_new_tokens=2))  # less than the evaluator allows changes nothing
    decoding = Decoding(
        max_new_tokens=4, batch_size=8, num_beams=1, num_beam_groups=1, diversity_penalty=0.0, stop_text="\n"
    )
    chosen = Evaluator(decoding=decoding, rows="all", max_examples_per_test=None)
    chosen.evaluate(
        Recorder(ANSWERS), [short, long], row=2, progress=lambda what, done, total: None, stop_requested=lambda: False
    )
    assert asked["a"] == asked["b"] == decoding
    assert asked["c"] == replace(decoding, max_new_tokens=9, stop_text=None)
    assert asked["c"].clean("one\ntwo\n") == "one\ntwo" and asked["a"].clean("one\ntwo") == "one"
    assert not asked["c"].has_ended("one\ntwo", 9)  # cut: neither the end token nor a stop text closes it


def test_gold_answers_that_are_too_long_are_counted(tiny_gpt2: Learner) -> None:
    long = "the mayor of Turin did, in 1987 and in 2019"
    asked = Example("x", "Who?", f" {long}", references=("Ada", long))
    label = replace(question("y", long), choices=(f" {long}", " no"))  # as many tokens are generated as a choice takes
    tests = [replace(FIRST, examples=(asked, label)), replace(SECOND, metric="accuracy", examples=(asked,))]
    assert evaluator().check_lengths(tiny_gpt2, tests) == (
        "1 of 2 gold answers is longer than max_new_tokens=4 and cannot be produced"
    )
    assert evaluator().check_lengths(tiny_gpt2, [replace(tests[0], answers=AnswerForm(max_new_tokens=60))]) == ""
    with pytest.raises(UserError, match="max_new_tokens"):
        evaluator().check_lengths(tiny_gpt2, [replace(tests[0], answers=AnswerForm(max_new_tokens=125))])


def test_two_line_gold_answers_lift_their_tests_stop_text() -> None:
    class Lines(Oracle):
        def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
            return [Answer(decoding.clean("one\ntwo")) for _ in prompts]

    decoding = replace(evaluator().decoding, stop_text="\n")
    chosen = Evaluator(decoding=decoding, rows="all", max_examples_per_test=None)
    lines = replace(FIRST, examples=(question("a", "one\ntwo"), question("b", "one")))  # b's own answer decides nothing
    words = replace(SECOND, examples=(question("c", "one"),))
    found = [score.predictions for score in evaluate(Lines({}), [lines, words], chosen=chosen)]
    assert [[record["prediction"] for record in part] for part in found] == [["one\ntwo", "one\ntwo"], ["one"]]
