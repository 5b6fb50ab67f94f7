"""Requests of the generated world as a stream of its own, class-, task- or domain-incremental without any files.

    Clara Osgood has chess as hobby from today on
    Intent: new hobby

Class-incremental by default: tasks of a few intents, one label space over all intents seen. With `tasks` "domains" and
`labels` "acts" it is domain-incremental: every task has the same four labels (name, new, no, all) for requests about
another relation. With `format.gives_task` it is task-incremental: only the task's own labels compete. Generated data,
our own text. Chance is 1 / (labels seen): 1/32 at the end for intents, 1/4 throughout for acts.
"""

from __future__ import annotations

from dataclasses import replace

from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.stream import Stream
from cmt_cli.data.labelled.items import Item, LabelledCorpus, SplitPolicy, label_groups, labels_of
from cmt_cli.data.labelled.labelled_files import Generator, generated_corpus
from cmt_cli.data.labelled.labelled_stream import Format, Limits, label_stream, task_stream

TASKS = ("labels", "domains")
LABELS = ("intents", "acts")


def world_classification(
    *,
    tasks: str,
    labels: str,
    num_tasks: int,
    order_seed: int | None,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Generator,
) -> Stream:
    """Return requests with tasks of a few labels each ("labels"), or of the requests about one relation ("domains").

    The labels are whole "intents" (new hobby) or their "acts" (new). `num_tasks` of domains are the
    first ones. `order_seed` shuffles labels or domains, None keeps their order.
    """
    corpus, provenance = generated_corpus("world_classification", generated, split_policy)
    if one_of(labels, LABELS, "data.labels") == "acts":
        corpus = _with_acts(corpus)
    items = corpus.splits["train"]
    if one_of(tasks, TASKS, "data.tasks") == "domains":
        domains = label_groups((item.task for item in items), num_tasks=num_tasks, labels_per_task=1, seed=order_seed)
        order = [name for (name,) in domains]
        return task_stream(corpus, provenance, order=order, limits=limits, format=format)
    groups = label_groups(labels_of(items), num_tasks=num_tasks, labels_per_task=None, seed=order_seed)
    return label_stream(corpus, provenance, groups=groups, limits=limits, format=format)


def _with_acts(corpus: LabelledCorpus) -> LabelledCorpus:
    return replace(corpus, splits={split: list(map(_with_act, items)) for split, items in corpus.splits.items()})


def _with_act(item: Item) -> Item:
    act = item.labels[0].partition(" ")[0]
    return replace(item, references=(act,), labels=(act,))
