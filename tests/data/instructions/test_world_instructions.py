"""Generated instructions: what each kind asks, what differs between splits, what stands in for other tasks."""

from __future__ import annotations

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.instructions.world_instructions import KINDS, Instructions, answer, world_instructions
from cmt_cli.data.labelled.items import Item
from cmt_cli.data.world.names import person
from tests.data.instruction_settings import common

VALUES = {"instruments": "cello", "pets": "gecko", "languages": "Czech"}


def items(tasks: list[str | int], number: int = 5) -> list[Item]:
    return Instructions(tasks=tasks, num_train=number, num_validation=1, num_test=1, seed=0).corpus().splits["train"]


def stream(order: list[str]) -> Stream:
    settings = common(order, "{input}\n{definition}", dict.fromkeys(KINDS, "em") | {"list": "f1"})
    del settings["missing_tasks"]
    return world_instructions(order=order, **settings)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("extract", "gecko"),
        ("list", "cello, gecko, Czech"),
        ("count", "3"),
        ("reverse", "Czech, gecko, cello"),
        ("rewrite", "She plays the cello, keeps a gecko and speaks Czech."),
    ],
)
def test_each_kind_answers_with_values_of_the_text(kind: str, expected: str) -> None:
    assert answer(kind, person(0, 0), VALUES, "pets") == expected


def test_the_answer_can_be_had_from_the_text() -> None:
    for item in items(list(KINDS), 30):
        text, (said,) = item.fields["input"], item.references
        if item.task in ("extract", "list", "reverse"):
            places = [text.index(f" {value}") for value in said.split(", ")]
            assert places == sorted(places, reverse=item.task == "reverse")
        elif item.task == "count":
            assert int(said) == text.count(",") + 2
        else:
            assert said.split(" ", 1)[1] == text.split(" ", 2)[2]


def test_other_tasks_cycle_through_kinds_and_vary_on_repeats() -> None:
    queried = {item.task: item.fields["definition"] for item in items([1572, 2, 363, 4, 5, 6, "count"])}
    assert list(queried.values()) == [
        "Which pet?", "List what is named.", "Count what is named.", "List it in reverse.", "Rewrite with a pronoun.",
        "Which dish?", "Count what is named.",
    ]  # fmt: skip


def test_splits_share_no_people_and_items_follow_their_number() -> None:
    made = stream(["list", "count"])
    people = [
        {" ".join(e.prompt.split()[:2]) for e in rows}
        for rows in (made.tasks[0].train, made.tasks[0].validation, made.tests[0].examples)
    ]
    assert not people[0] & people[1] and not people[0] & people[2] and not people[1] & people[2]
    assert items(["list"], 9)[:5] == items(["list"], 5)
    assert [test.metric for test in made.tests] == ["f1", "em"]


def test_an_unknown_kind_and_an_empty_split_are_refused() -> None:
    with pytest.raises(UserError, match="none twice"):
        stream(["list", "list"])
    with pytest.raises(UserError, match="num_train=0"):
        items(["list"], 0)
