"""A stream of a user's own labelled rows: csv, tsv, jsonl, json or parquet files, or a data set of the hub.

    cmt run data=labelled data.path=reviews.csv data.columns.text=review data.columns.answer=stars data.num_tasks=2

`path` is a file, a folder or an archive of one (`table_files` says how names tell splits and tasks), or ORG/NAME of the
Hugging Face hub, which is read at a pinned revision and kept as jsonl files below the cache.

- `kind`: "classification" (the answer is a label), "generation" (a text), or "choices" (one of a row's own).
- `tasks`: groups of "labels" (class-incremental), the values of a "column" or the "files" (domain-incremental where
  tasks share labels). With `format.gives_task` a question tells its task (task-incremental).

Rows of no split are divided by `held_out`, evenly over tasks and labels; SplitPolicy applies as to every stream. Chance
is 1 / (labels or choices that compete). The stand-in is the generated world's intents as csv, with their domains.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.stream import Stream
from cmt_cli.data.files.generated import write_csv
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.table_rows import TableForm, format_of
from cmt_cli.data.hub import library as hub_files
from cmt_cli.data.labelled.columns import Columns
from cmt_cli.data.labelled.held_out import HeldOut
from cmt_cli.data.labelled.items import (
    Item,
    LabelledCorpus,
    SplitPolicy,
    Splits,
    by_label,
    by_task,
    labels_of,
)
from cmt_cli.data.labelled.labelled_files import Generator, LabelledLayout, clean_corpus, files_at
from cmt_cli.data.labelled.labelled_stream import Format, Limits, labelled_stream
from cmt_cli.data.labelled.table_corpus import ALL, STAND_IN, TableReader
from cmt_cli.data.labelled.table_files import SplitNames
from cmt_cli.data.labelled.task_order import TaskOrder
from cmt_cli.data.labelled.templates import fields_in

METRICS = {"classification": "em", "generation": "rouge_l", "choices": "accuracy"}  # of the metric "auto"
HUB_NAME = re.compile(r"(hf://datasets/)?([\w-][\w.-]*(/[\w-][\w.-]*)?)")
COMMIT = re.compile(r"[0-9a-f]{40}")
MADE_FIELDS = ("text", "options")  # of an item; a prompt template's other fields are columns


@dataclass(frozen=True, kw_only=True, slots=True)
class HubVersion:
    """Which version of a hub data set is read: the commit, and the subset (configuration) where it has several."""

    revision: str | None
    subset: str | None


def labelled(
    *,
    name: str,
    license: str,
    path: str,
    default_path: str,
    hub: HubVersion,
    source: str,
    auto_may_generate: bool,
    cache: str,
    on_bad_row: str,
    table: TableForm,
    columns: Columns,
    splits: Mapping[str, str] | None,
    held_out: HeldOut,
    kind: str,
    tasks: str,
    num_tasks: int,
    labels_per_task: int | None,
    order: Sequence[Any] | None,
    order_seed: int | None,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Generator,
) -> Stream:
    """Return the stream of a user's labelled rows, as the module says.

    `splits` maps train, validation and test to what files, hub splits or values of a column call them; None takes the
    usual names. The metric "auto" follows from the kind.
    """
    wanted = TaskOrder(order=order, order_seed=order_seed, num_tasks=num_tasks, labels_per_task=labels_per_task)
    templates = (
        format.prompt_template.values() if isinstance(format.prompt_template, Mapping) else [format.prompt_template]
    )
    reader = TableReader(
        kind=kind,
        tasks=tasks,
        columns=columns,
        form=table,
        names=SplitNames(splits),
        held_out=held_out,
        in_prompt=sorted({field for text in templates for field in fields_in(text)} - set(MADE_FIELDS)),
    )
    columns.settings(kind, reader.in_prompt)  # what contradicts itself is refused before anything is read
    local = path if source == "generated" or path == default_path else _local(path, hub, cache)
    files = files_at(local, default_path, source, auto_may_generate, cache, on_bad_row)
    layout = replace(LAYOUT, read=reader.read, license=license, license_is_the_users=True)
    corpus, provenance = clean_corpus(layout, files, generated, split_policy, format)
    if not corpus.splits["train"]:
        raise UserError(f"data.path={path}: no row is left to train on: {provenance.note or 'the files have none'}.")
    format = replace(format, metric=METRICS[kind]) if format.metric == "auto" else format
    divided, labels = _divided(corpus, kind, wanted)
    kept = sum(len(items) for _, parts in divided for items in parts.values())
    of_labels = kind == "classification" and all(item.task == ALL for item in corpus.splits["train"])
    notes = [*_left_out(corpus, kept, of_labels=of_labels), "" if of_labels else wanted.note_of_tasks(len(divided))]
    provenance = replace(provenance.noted(*notes), name=name)
    return labelled_stream(divided, labels=labels, limits=limits, format=format, provenance=provenance)


def _divided(
    corpus: LabelledCorpus, kind: str, wanted: TaskOrder
) -> tuple[list[tuple[str, Splits]], Sequence[Sequence[str]]]:
    """Return the rows of each task, and the labels that each brings."""
    read = sorted((item for items in corpus.splits.values() for item in items), key=_place)
    training = corpus.splits["train"]
    learned = {item.task for item in training}
    tasks = list(dict.fromkeys(item.task for item in read if item.task in learned))
    if kind == "classification" and tasks == [ALL]:
        known = set(labels_of(training))
        groups = wanted.groups([label for label in labels_of(read) if label in known])
        return by_label(corpus.splits, groups), groups
    order = wanted.names(tasks)
    divided = by_task(corpus.splits, order)
    if kind != "classification":
        return divided, ()
    return divided, [labels_of(item for item in read if item.task == task) for task in order]


def _left_out(corpus: LabelledCorpus, kept: int, *, of_labels: bool) -> list[str]:
    """Return notes of the tasks, or labels, that no training row is left of, and of those that the order leaves out."""

    def name(item: Item) -> str:
        return item.labels[0] if of_labels else item.task

    read = [item for items in corpus.splits.values() for item in items]
    learned = {name(item) for item in corpus.splits["train"]}
    untrained = Counter(name(item) for item in read if name(item) not in learned)
    kind = "label" if of_labels else "task"
    notes = [
        f"{kind} '{key}' has {counted(number, 'row')}, none left to train on: left out"
        for key, number in untrained.items()
    ]
    if outside := len(read) - kept - untrained.total():
        notes.append(f"{counted(outside, 'row')} of tasks or labels outside data.order not used")
    return notes


def _place(item: Item) -> tuple[bool, str]:
    """Return where an item stood in the files, those to learn from first: no draw of rows changes what comes first."""
    return item.id.rpartition("/")[2].startswith(("validation", "test")), item.id


def _local(path: str, version: HubVersion, cache: str) -> str:
    """Return a path of files: `path` itself, or the folder of the hub data set that it names.

    Raises UserError for a hub data set whose version is not pinned.
    """
    match = HUB_NAME.fullmatch(path)
    if Path(path).expanduser().exists() or match is None or format_of(Path(path)) is not None:
        return path
    if version.revision is None and "/" not in path:
        return path
    if version.revision is None or not COMMIT.fullmatch(version.revision):
        given = "is not set" if version.revision is None else f"is '{version.revision}'"
        raise UserError(
            f"data.path={path}: there is no such file or folder here. To read a data set of that name from the Hugging "
            f"Face hub, pin it: data.hub.revision must be a commit of 40 hexadecimal digits and {given}; the hub shows "
            "it under 'Files and versions'."
        )
    return str(hub_files.stored(match[2], version.revision, version.subset, Path(cache).expanduser()))


def _read_stand_in(path: Path) -> tuple[LabelledCorpus, list[Problem]]:
    text, answer, task = STAND_IN
    return TableReader(
        kind="classification",
        tasks="auto",
        columns=Columns(
            text=text, answer=answer, label_names=None, task=task, split=None, choices=None, answer_form="text"
        ),
        form=TableForm(has_quotes=True, header=None, delimiter=None),
        names=SplitNames(None),
        held_out=HeldOut(share=0.1, seed=0),
        in_prompt=(),
    ).read(path)


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write a corpus as a csv file for each split."""
    for split, items in corpus.splits.items():
        if items:
            write_csv(folder / f"{split}.csv", STAND_IN, ([i.fields["text"], i.labels[0], i.task] for i in items))


LAYOUT: LabelledLayout = Layout(
    name="labelled",
    license="not stated",
    how_to_get=(
        "Set data.path to a csv, tsv, jsonl, json or parquet file, a folder of them, or ORG/NAME of the hub "
        "with data.hub.revision=COMMIT. Name the columns with data.columns.text=... and data.columns.answer=..."
    ),
    read=_read_stand_in,
    write=write,
)
