"""What may be answered in each row, and the scores over all tests of the tasks learned so far."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.result import SEEN
from cmt_cli.core.stream import Example, TestSet
from tests.evaluation.predictors import TablePredictor, evaluate

LABELS = (("lost", "late"), ("food", "late"), ("pets",))
TESTS = [
    TestSet("first", (Example("a", "p", " lost"), Example("b", "q", " late")), "accuracy", 0, labels_by_task=LABELS),
    TestSet("second", (Example("c", "r", " food"),), "accuracy", 1, labels_by_task=LABELS),
    TestSet("third", (Example("d", "s", " pets"),), "accuracy", 2, labels_by_task=LABELS),
]
RIGHT = {"p": "lost", "q": "late", "r": "food", "s": "pets"}


def choices(tests: Sequence[TestSet], row: int) -> dict[str, tuple[str, ...]]:
    predictor = TablePredictor(RIGHT)
    evaluate(predictor, tests, row=row)
    return {prompt.text: prompt.choices for prompt in predictor.prompts_seen}


def test_choices_are_labels_of_seen_and_evaluated_tasks() -> None:
    first, second, third = (" lost", " late"), (" lost", " late", " food"), (" lost", " late", " food", " pets")
    assert choices(TESTS, 0) == {"p": first, "q": first, "r": second, "s": third}
    assert choices(TESTS, 1) == {"p": first, "q": first, "r": second, "s": third}
    assert choices(TESTS, 2) == {"p": second, "q": second, "r": second, "s": third}
    assert set(choices(TESTS, 3).values()) == {third}


def test_questions_that_name_their_task_have_its_labels_alone() -> None:
    told = [replace(test, gives_task=True) for test in TESTS]
    expected = {"p": (" lost", " late"), "q": (" lost", " late"), "r": (" food", " late"), "s": (" pets",)}
    assert choices(told, 0) == choices(told, 3) == expected


def test_without_labels_an_examples_own_choices_are_asked() -> None:
    example = Example("a", "p", " lost", choices=(" lost", " found"))
    plain = [TestSet("first", (example,), "accuracy", 0), TestSet("probe", (example,), "accuracy", None)]
    assert choices(plain, 2) == {"p": (" lost", " found")}


def test_a_target_outside_its_tasks_labels_is_refused() -> None:
    wrong = replace(TESTS[0], examples=(Example("a", "p", " food"),))
    with pytest.raises(UserError, match="target 'food' of example 'a' is none of the 2 labels of its task"):
        evaluate(TablePredictor(RIGHT), [wrong])
    with pytest.raises(UserError, match="belongs to task 4, but its labels_by_task lists 3"):
        evaluate(TablePredictor(RIGHT), [replace(TESTS[0], learned_at=3)])


def seen(tests: Sequence[TestSet], row: int, answers: Mapping[str, str], **limits: int) -> dict[str, float | None]:
    last = evaluate(TablePredictor(answers), tests, row=row, **limits)[-1]
    assert last.test == SEEN
    assert last.predictions == []
    return last.scores


def test_accuracy_over_all_examples_of_the_tasks_so_far() -> None:
    answers = RIGHT | {"p": "late", "s": "food"}
    assert [seen(TESTS, row, answers) for row in range(4)] == [
        {"accuracy_seen": None},
        {"accuracy_seen": pytest.approx(1 / 2)},
        {"accuracy_seen": pytest.approx(2 / 3)},
        {"accuracy_seen": pytest.approx(2 / 4)},
    ]


def test_no_seen_row_without_labels_or_with_named_tasks() -> None:
    for plain in ([replace(test, gives_task=True) for test in TESTS], [replace(TESTS[0], learned_at=None)]):
        plain = [replace(test, examples=[replace(e, choices=(e.target,)) for e in test.examples]) for test in plain]
        assert [score.test for score in evaluate(TablePredictor(RIGHT), plain)] == [test.name for test in plain]


TYPES = (("person",), ("city", "date"))
# "p" is evaluated in both tasks, each with the entities of its own types as target
PEOPLE = (Example("a", "p", " person: Ada"), Example("b", "q", " person: Bo"))
PLACES = (Example("c", "p", " city: Turin"), Example("d", "r", " date: May; date: June"))
SPANS = [
    TestSet("people", PEOPLE, "span_f1", 0, labels_by_task=TYPES),
    TestSet("places", PLACES, "span_f1", 1, labels_by_task=TYPES),
]
SAID = {"p": "person: Ada; city: Turin", "q": "city: Bo; preson: Bo", "r": "date: May; person: June"}


def test_a_column_leaves_other_tasks_types_out() -> None:
    people, places, _ = evaluate(TablePredictor(SAID), SPANS, row=1)
    assert people.scores["span_f1"] == pytest.approx(2 / 4)  # tp Ada, fn Bo, fp the invented type
    assert places.scores["span_f1"] == pytest.approx(4 / 5)  # tp Turin and May, fn June
    assert places.scores["span_f1_macro"] == pytest.approx((1 + 2 / 3) / 2)


def test_entities_of_seen_types_count_once_per_sentence() -> None:
    assert seen(SPANS, 0, SAID) == {"span_f1_seen": None, "span_f1_macro_seen": None}
    assert seen(SPANS, 1, SAID) == {"span_f1_seen": pytest.approx(2 / 4), "span_f1_macro_seen": pytest.approx(2 / 3)}
    # p: tp Ada, tp Turin; q: fn Bo, fp city, fp preson; r: tp May, fn June, fp person
    found = seen(SPANS, 2, SAID)
    assert found["span_f1_seen"] == pytest.approx(2 * 3 / (2 * 3 + 3 + 2))
    # person: tp 1, fp 1, fn 1; city: tp 1, fp 1; date: tp 1, fn 1
    assert found["span_f1_macro_seen"] == pytest.approx((2 / 4 + 2 / 3 + 2 / 3) / 3)


def test_a_limit_hides_no_gold_of_an_evaluated_sentence() -> None:
    right = {"p": "person: Ada; city: Turin", "q": "person: Bo", "r": "date: May; date: June"}
    reordered = [SPANS[0], replace(SPANS[1], examples=PLACES[::-1])]
    assert seen(reordered, 2, right, limit=1)["span_f1_seen"] == 1.0  # "p" is evaluated in the first task only
