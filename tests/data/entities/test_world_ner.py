"""Generated entities: what a sentence says, what differs between splits, what each task is told."""

from __future__ import annotations

from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.entities.entity_stream import entities_of, tagged
from cmt_cli.data.entities.world_ner import world_ner
from cmt_cli.data.labelled.items import SPLITS, SplitPolicy
from cmt_cli.data.labelled.labelled_stream import Format, Limits
from cmt_cli.data.world.entities import THEME_OF, THEMES, Entities

SIZES: dict[str, Any] = {"num_train": 80, "num_validation": 20, "num_test": 30, "mixed_share": 0.3, "seed": 0}


def stream(**changes: Any) -> Stream:
    settings: dict[str, Any] = {
        "order": list(THEMES),
        "sentences_once": True,
        "split_policy": SplitPolicy(validation_share=0.1, overlap="drop", seed=0),
        "limits": Limits(stream_split="test", max_train=None, max_validation=None, max_test=None, seed=0),
        "format": Format(prompt_template="{text}\nEntities:", metric="span_f1", gives_task=False),
        "generated": Entities(**SIZES),
    }
    return world_ner(**{**settings, **changes})


def test_sentences_name_entities_in_order_including_their_theme() -> None:
    items = Entities(**SIZES).corpus().splits["train"]
    for item in items:
        _, tags = tagged(item, str)
        assert [tag[2:] for tag in tags if tag.startswith("B-")] == [e.type for e in entities_of(item)]
        assert {THEME_OF[kind] for kind in item.labels} >= {item.task}
    mixed = sum(len({THEME_OF[kind] for kind in item.labels}) > 1 for item in items)
    assert mixed / len(items) == pytest.approx(0.3, abs=0.07)
    assert {kind for item in items for kind in item.labels} == set(THEME_OF)


def test_an_item_depends_on_its_number_not_the_total() -> None:
    few, more = Entities(**SIZES).corpus(), Entities(**{**SIZES, "num_train": 90}).corpus()
    assert {item.id: item for item in more.splits["train"]}.items() >= {i.id: i for i in few.splits["train"]}.items()
    assert Entities(**{**SIZES, "seed": 1}).corpus() != few


def test_the_people_of_training_validation_and_test_differ() -> None:
    splits = Entities(**SIZES).corpus().splits
    people = [{e.words for i in splits[split] for e in entities_of(i) if e.type == "person"} for split in SPLITS]
    assert all(people)
    assert not people[0] & people[1] and not people[0] & people[2] and not people[1] & people[2]


def test_a_task_names_only_its_types_and_never_none() -> None:
    made = stream(order=["home", "places"])
    for task, test, own in zip(made.tasks, made.tests, (THEMES["home"], THEMES["places"]), strict=True):
        answers = [e.target.strip() for e in (*task.train, *task.validation, *test.examples)]
        types = {piece.split(": ")[0] for answer in answers for piece in answer.split("; ")}
        assert types == set(own)


def test_training_sentences_are_in_one_or_all_fitting_tasks() -> None:
    once, repeated = stream(), stream(sentences_once=False)
    ids = [e.id for task in once.tasks for e in task.train]
    assert len(ids) == len(set(ids))
    assert sum(len(task.train) for task in repeated.tasks) > len(ids)


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(UserError, match="Did you mean 'places'"):
        stream(order=["place"])
    with pytest.raises(UserError, match="none twice"):
        stream(order=["home", "home"])
    with pytest.raises(UserError, match="num_test=0"):
        Entities(**{**SIZES, "num_test": 0})
    with pytest.raises(UserError, match="mixed_share=2"):
        Entities(**{**SIZES, "mixed_share": 2})
