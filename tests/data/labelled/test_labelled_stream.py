"""From divided items to tasks and tests: limits, templates, metrics, labels and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import AnswerForm, Provenance, Stream
from cmt_cli.data.labelled.items import Item, Splits
from cmt_cli.data.labelled.labelled_stream import Format, Limits, labelled_stream

FROM = Provenance("made", "generated", "none", note="made by hand")


def item(task: str, split: str, index: int) -> Item:
    fields = {"text": f"{task} {split} {index}", "topic": task}
    return Item(f"{task}-{split}-{index}", task, fields, (f"{task} answer", "or this"), (f"{task} answer",))


def splits(task: str, train: int = 4, validation: int = 3, test: int = 2) -> Splits:
    sizes = {"train": train, "validation": validation, "test": test}
    return {split: [item(task, split, i) for i in range(size)] for split, size in sizes.items()}


def limits(**changes: Any) -> Limits:
    given: dict[str, Any] = {
        "stream_split": "test",
        "max_train": None,
        "max_validation": None,
        "max_test": None,
        "seed": 0,
    }
    return Limits(**given | changes)


def form(
    template: str | Mapping[str, str] = "{text}?", metric: str | Mapping[str, str] = "em", gives_task: bool = False
) -> Format:
    return Format(prompt_template=template, metric=metric, gives_task=gives_task)


def stream(*names: str, labels: list[list[str]] | None = None, **changes: Any) -> Stream:
    given: dict[str, Any] = {"limits": limits(), "format": form(), "provenance": FROM}
    own = [[f"{name} answer"] for name in names] if labels is None else labels
    return labelled_stream([(name, splits(name)) for name in names], labels=own, **given | changes)


def test_tasks_and_tests_follow_the_divided_items() -> None:
    made = stream("b", "a")
    assert [(task.name, task.index, len(task.train), len(task.validation)) for task in made.tasks] == [
        ("b", 0, 4, 3),
        ("a", 1, 4, 3),
    ]
    assert [(test.name, test.learned_at, test.metric, len(test.examples)) for test in made.tests] == [
        ("b", 0, "em", 2),
        ("a", 1, "em", 2),
    ]
    assert made.provenance.note == "made by hand; train/test examples per task 4/2, 4/2"
    assert made.provenance.split == "test"


def test_the_first_reference_is_learned_and_all_are_accepted() -> None:
    example = stream("a").tasks[0].train[1]
    assert (example.id, example.prompt, example.target) == ("a-train-1", "a train 1?", " a answer")
    assert example.references == ("a answer", "or this")
    assert example.choices == (" a answer",)


def test_tests_tell_the_labels_that_each_task_brings() -> None:
    made = stream("b", "a")
    assert [test.labels_by_task for test in made.tests] == [(("b answer",), ("a answer",))] * 2
    assert [test.labels_by_task for test in stream("b", labels=[]).tests] == [()]
    assert stream("b", labels=[]).tests[0].examples[0].choices == ()


def test_task_incremental_questions_carry_their_task() -> None:
    assert not stream("b", "a").gives_task
    assert stream("b", "a", format=form(gives_task=True)).gives_task


def test_a_validation_stream_is_evaluated_without_the_test_split() -> None:
    made = stream("a", limits=limits(stream_split="validation"))
    assert [example.id for example in made.tests[0].examples] == [f"a-validation-{i}" for i in range(3)]
    assert made.tasks[0].validation == ()
    assert made.provenance.split == "validation"


def test_limits_keep_the_order_and_follow_their_seed() -> None:
    many = {split: [item("a", split, i) for i in range(50)] for split in ("train", "validation", "test")}

    def made(**changes: Any) -> list[str]:
        chosen = limits(max_train=10, max_test=5, max_validation=1, **changes)
        one = labelled_stream([("a", many)], labels=[], limits=chosen, format=form(), provenance=FROM)
        assert len(one.tests[0].examples) == 5 and len(one.tasks[0].validation) == 1
        return [example.id for example in one.tasks[0].train]

    numbers = [int(name.rpartition("-")[2]) for name in made()]
    assert len(numbers) == 10 and numbers == sorted(numbers) and numbers != list(range(10))
    assert made() == made() != made(seed=1)


def test_a_limit_above_the_number_of_rows_takes_all() -> None:
    assert len(stream("a", limits=limits(max_train=400)).tasks[0].train) == 4


def test_templates_may_differ_by_task_and_fill_fields_once() -> None:
    made = stream("a", "b", format=form({"a": "{topic}: {text}", "b": "{text} {other"}))
    assert made.tasks[0].train[0].prompt == "a: a train 0"
    assert made.tasks[1].train[0].prompt == "b train 0 {other"
    braces = Item("x", "a", {"text": "{topic} {nothing}", "topic": "b"}, ("y",))
    assert form("{text}").prompt(braces) == "{topic} {nothing}"  # a text is never a template


def test_metrics_may_differ_between_tasks() -> None:
    made = stream("a", "b", format=form(metric={"a": "em", "b": "accuracy"}))
    assert [test.metric for test in made.tests] == ["em", "accuracy"]


def test_references_may_depend_on_the_labels_of_the_task() -> None:
    made = stream("a", "b", target=lambda one, labels: (f"{one.task} of {','.join(labels)}",))
    assert [task.train[0].target for task in made.tasks] == [" a of a answer", " b of b answer"]


def test_a_field_missing_from_the_rows_is_named() -> None:
    with pytest.raises(UserError, match=r"names sentence, but the rows have text, topic"):
        stream("a", format=form("{sentence}"))


def test_a_task_without_a_template_or_metric_is_named() -> None:
    with pytest.raises(UserError, match=r"data.format.prompt_template has nothing for the task 'b'; it has a"):
        stream("a", "b", format=form({"a": "{text}"}))
    with pytest.raises(UserError, match=r"data.format.metric has nothing for the task 'b'"):
        stream("a", "b", format=form(metric={"a": "em"}))


@pytest.mark.parametrize(("size", "split"), [("train", "test"), ("test", "test"), ("validation", "validation")])
def test_tasks_without_rows_in_a_used_split_are_refused(size: str, split: str) -> None:
    with pytest.raises(UserError, match=f"The task 'a' of data=made has no rows in the {size} split"):
        labelled_stream(
            [("a", splits("a", **{size: 0}))],
            labels=[],
            limits=limits(stream_split=split),
            format=form(),
            provenance=FROM,
        )


@pytest.mark.parametrize("changes", [{"max_train": 0}, {"max_test": -1}, {"stream_split": "dev"}])
def test_limits_that_cannot_work_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"data\.limits\."):
        limits(**changes)


def test_answer_forms_may_differ_by_task_and_are_checked() -> None:
    settings: dict[str, Any] = {"prompt_template": "{text}", "metric": "sari", "gives_task": False}
    made = Format(**settings, max_new_tokens={"b": 40}, has_lines={"b": True}, source_pattern={"b": r"Text: (.*)"})
    assert made.answers_of("a") == AnswerForm()
    assert made.answers_of("b") == AnswerForm(max_new_tokens=40, is_one_line=False)
    items = {task: Item("1", task, {"text": "Text: a big house\nSimple:"}, ("a house",)) for task in ("a", "b")}
    assert {task: made.source(given) for task, given in items.items()} == {"a": "", "b": "a big house"}
    with pytest.raises(UserError, match=r"data\.format\.max_new_tokens=0 must be at least 1"):
        Format(**settings, max_new_tokens={"b": 0})
    with pytest.raises(UserError, match=r"source_pattern='Text' needs a group"):
        Format(**settings, source_pattern="Text")
    with pytest.raises(UserError, match=r"source_pattern='\(' is no regular expression"):
        Format(**settings, source_pattern="(")
