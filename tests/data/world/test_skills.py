"""The generated stream of five skills: what a question looks like, what differs between splits, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Example, Stream
from cmt_cli.data.world.skills import SKILLS, Sizes, world_skills

TEMPLATE = "{text}\nForm: {heading}\nEntry:"
SIZES = Sizes(num_train=60, num_validation=20, num_test=30)


def stream(**changes: Any) -> Stream:
    settings: dict[str, Any] = {
        "order": ["pets", "dishes"],
        "sizes": SIZES,
        "values_per_text": 2,
        "stream_split": "test",
        "gives_task": True,
        "prompt_template": TEMPLATE,
        "seed": 0,
    }
    return world_skills(**{**settings, **changes})


def person_of(example: Example) -> str:
    return " ".join(example.prompt.split()[:2])


def test_only_the_answer_fits_the_heading_of_its_text() -> None:
    for task in stream().tasks:
        for example in task.train:
            text, form, _ = example.prompt.split("\n")
            skill = SKILLS[task.name]
            assert form == f"Form: {skill.heading}"
            assert [value for value in skill.values if f" {value}" in text] == [example.target.strip()]
            assert sum(any(f" {v}" in text for v in other.values) for other in SKILLS.values()) == 2


def test_an_example_depends_on_its_number_not_the_total() -> None:
    more = stream(sizes=Sizes(num_train=80, num_validation=20, num_test=30))
    assert more.tasks[0].train[:60] == stream().tasks[0].train
    assert stream(seed=1).tasks[0].train != stream().tasks[0].train


def test_the_people_of_training_validation_and_test_differ() -> None:
    made = stream()
    groups = [
        {person_of(e) for task in made.tasks for e in task.train},
        {person_of(e) for task in made.tasks for e in task.validation},
        {person_of(e) for test in made.tests for e in test.examples},
    ]
    assert all(groups)
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]


def test_choosing_on_validation_asks_validation_examples_and_says_so() -> None:
    tuned = stream(stream_split="validation")
    assert [test.examples for test in tuned.tests] == [task.validation for task in stream().tasks]
    assert tuned.provenance.split == "validation" and tuned.provenance.source == "generated"
    assert not any(task.validation for task in tuned.tasks)


def test_tasks_follow_the_order_and_gives_task_is_kept() -> None:
    made = stream(order=["hobbies", "pets", "languages"], gives_task=False)
    assert [task.name for task in made.tasks] == ["hobbies", "pets", "languages"]
    assert not made.gives_task and stream().gives_task


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": ["pet"]}, "pets"),
        ({"order": ["pets", "pets"]}, "none twice"),
        ({"order": []}, "at least one"),
        ({"prompt_template": "{text}"}, "{heading}"),
        ({"stream_split": "train"}, "data.stream_split"),
        ({"values_per_text": 6}, "give 1 to 5"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        stream(**changes)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(UserError, match="num_test=0"):
        Sizes(num_train=1, num_validation=1, num_test=0)
