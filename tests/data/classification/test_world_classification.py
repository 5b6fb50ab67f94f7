"""Generated requests: class-, task- and domain-incremental by settings alone."""

from __future__ import annotations

from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.classification.world_classification import world_classification
from cmt_cli.data.labelled.items import SplitPolicy
from cmt_cli.data.labelled.labelled_stream import Format, Limits
from cmt_cli.data.world.intents import Intents
from tests.data.labelled_settings import sizes

ACTS = ("name", "new", "no", "all")


def stream(gives_task: bool = False, **changes: Any) -> Stream:
    given: dict[str, Any] = {
        "tasks": "labels",
        "labels": "intents",
        "num_tasks": 8,
        "order_seed": None,
        "split_policy": SplitPolicy(validation_share=0.1, overlap="drop", seed=0),
        "limits": Limits(stream_split="test", max_train=None, max_validation=None, max_test=None, seed=0),
        "format": Format(prompt_template="{text}\nIntent:", metric="em", gives_task=gives_task),
        "generated": Intents(num_train=6, num_validation=2, num_test=3, seed=0),
    }
    return world_classification(**given | changes)


def test_class_incremental_tasks_share_no_labels() -> None:
    made = stream(order_seed=0)
    labels = [label for own in made.tests[0].labels_by_task for label in own]
    assert len(labels) == len(set(labels)) == 32
    assert [row[2:] for row in sizes(made)] == [(8, 12)] * 8


def test_domain_incremental_tasks_share_their_labels() -> None:
    made = stream(tasks="domains", labels="acts", num_tasks=3)
    assert [task.name for task in made.tasks] == ["birthplace", "job", "employer"]
    assert made.tests[0].labels_by_task == (ACTS,) * 3
    assert {example.references[0] for task in made.tasks for example in task.train} == set(ACTS)
    assert all("birthplace" in example.prompt for example in made.tasks[0].train)


def test_domains_may_bring_intents_of_their_own() -> None:
    made = stream(tasks="domains")
    assert made.tests[0].labels_by_task[4] == tuple(f"{act} pet" for act in ACTS)


def test_task_incremental_questions_tell_their_task() -> None:
    assert stream(gives_task=True).gives_task and not stream().gives_task


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": "domain"}, "data.tasks='domain' is not known"),
        ({"labels": "act"}, "data.labels='act' is not known"),
        ({"tasks": "domains", "num_tasks": 9}, "does not fit 8 labels"),
        ({"labels": "acts", "num_tasks": 5}, "does not fit 4 labels"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        stream(**changes)
