"""The generated stream of relations: what a question looks like, what makes it one class, what differs by split."""

from __future__ import annotations

from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.labelled.items import Item, SplitPolicy
from cmt_cli.data.labelled.labelled_stream import Format, Limits
from cmt_cli.data.relations.world_relations import Mentions, noun, world_relations
from cmt_cli.data.world.relations import RELATIONS

SMALL = Mentions(num_train=6, num_validation=2, num_test=3, seed=0)
TEMPLATE = "{text}\nhead: {head}, tail: {tail}, relation:"


def stream(**changes: Any) -> Stream:
    settings: dict[str, Any] = {
        "num_tasks": 4,
        "labels_per_task": None,
        "order_seed": 0,
        "split_policy": SplitPolicy(validation_share=0.1, overlap="error", seed=0),
        "limits": Limits(stream_split="test", max_train=None, max_validation=None, max_test=None, seed=0),
        "format": Format(prompt_template=TEMPLATE, metric="accuracy", gives_task=False),
        "generated": SMALL,
    }
    return world_relations(**{**settings, **changes})


def person_of(item: Item) -> str:
    return item.fields["tail" if item.labels[0].endswith(" of") else "head"]


def test_the_marked_mentions_and_their_order_are_the_class() -> None:
    values = {noun(relation): relation.values for relation in RELATIONS}
    for item in SMALL.corpus().splits["train"]:
        text, head, tail = item.fields["text"], item.fields["head"], item.fields["tail"]
        assert head in text and tail in text
        (label,) = item.labels
        word = label.removesuffix(" of")
        assert (head if label.endswith(" of") else tail) in values[word]
        stated = [name for name, known in values.items() if any(f" {value}" in text for value in known)]
        assert len(stated) >= 2 and word in stated  # another fact is stated as well


def test_sixteen_distinct_relations_come_in_four_tasks() -> None:
    made = stream()
    assert [len(task.train) for task in made.tasks] == [4 * 6] * 4
    assert [len(test.examples) for test in made.tests] == [4 * 3] * 4
    groups = [[label.strip() for label in group] for group in made.tests[0].labels_by_task]
    assert len({label for group in groups for label in group}) == sum(map(len, groups)) == 16
    assert {example.references[0] for example in made.tasks[1].train} == set(groups[1])
    assert made.provenance.source == "generated" and made.name == "world_relations"


def test_the_target_relates_the_marked_head_and_tail() -> None:
    example = stream(order_seed=None).tasks[0].train[0]
    text, marks = example.prompt.split("\n")
    name = " ".join(text.replace("'s ", " ").split()[:2])
    assert marks.startswith(f"head: {name}, tail: ") and marks.endswith(", relation:")
    assert example.target == " birthplace" and example.references == ("birthplace",)


def test_people_of_training_validation_and_test_differ() -> None:
    train, validation, test = ({person_of(i) for i in items} for items in SMALL.corpus().splits.values())
    assert not train & validation and not train & test and not validation & test


def test_an_item_depends_on_its_number_and_seed() -> None:
    more = Mentions(num_train=9, num_validation=2, num_test=3, seed=0).corpus().splits["train"]
    assert {i.fields["text"] for i in SMALL.corpus().splits["train"]} <= {i.fields["text"] for i in more}
    other = Mentions(num_train=6, num_validation=2, num_test=3, seed=1)
    assert other.corpus().splits["train"] != SMALL.corpus().splits["train"]


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(UserError, match="num_test=0"):
        Mentions(num_train=1, num_validation=1, num_test=0, seed=0)
