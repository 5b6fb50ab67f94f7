"""BANKING77: 77 intents of a bank's customers, a few classes at a time (Casanueva et al. 2020, arXiv 2003.04807).

The files of PolyAI-LDN/task-specific-datasets (folder banking_data), `train.csv` and `test.csv`:

    text,category
    "My card is still not here, is it lost?",card_arrival

Class-incremental: 7 tasks of 11 intents, one label space over all intents seen. There is no validation split upstream,
so one is carved from the training rows. CC BY 4.0. Chance is 1 / (intents seen), 1/77 at the end.
"""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from cmt_cli.core.stream import Stream
from cmt_cli.data.files.fields import text_field
from cmt_cli.data.files.generated import write_csv
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import find, read_csv
from cmt_cli.data.hub.hub_files import HubFiles, HubSource, Tables
from cmt_cli.data.hub.shapes import Labels
from cmt_cli.data.labelled.items import Item, LabelledCorpus, SplitPolicy, label_groups, labels_of
from cmt_cli.data.labelled.labelled_files import Generator, LabelledLayout, clean_corpus, files_at, read_splits
from cmt_cli.data.labelled.labelled_stream import Format, Limits, label_stream

COLUMNS = ("text", "category")
FILE_OF_SPLIT = {"train": "train.csv", "test": "test.csv"}
TASK = "banking"


def banking77(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    on_bad_row: str,
    num_tasks: int,
    labels_per_task: int | None,
    order_seed: int | None,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Generator,
) -> Stream:
    """Return BANKING77 with tasks of a few intents each.

    `labels_per_task` of None divides all intents evenly; `order_seed` shuffles them, None keeps the order of the files.
    """
    files = files_at(path, default_path, source, auto_may_generate, cache, on_bad_row)
    corpus, provenance = clean_corpus(LAYOUT, files, generated, split_policy, format)
    labels = labels_of(corpus.splits["train"])
    groups = label_groups(labels, num_tasks=num_tasks, labels_per_task=labels_per_task, seed=order_seed)
    return label_stream(corpus, provenance, groups=groups, limits=limits, format=format)


def read(path: Path) -> tuple[LabelledCorpus, list[Problem]]:
    """Read the folder of the released files."""
    return read_splits(path, FILE_OF_SPLIT, find, _items)


def _items(file: Path, split: str, known: Set[str] | None, problems: list[Problem]) -> list[Item]:
    items = []
    for index, row in enumerate(read_csv(file, COLUMNS, problems)):
        text, category = text_field(row, "text", problems), text_field(row, "category", problems)
        if text is None or category is None:
            continue
        label = category.replace("_", " ")
        if known is not None and label not in known:
            problems.append(row.problem(f"the category '{category}' has no training rows"))
            continue
        items.append(Item(f"{split}-{index:05d}", TASK, {"text": text}, (label,), (label,)))
    return items


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write a corpus in this layout, which has no validation split."""
    for split, name in FILE_OF_SPLIT.items():
        rows = ([item.fields["text"], item.labels[0].replace(" ", "_")] for item in corpus.splits[split])
        write_csv(folder / name, COLUMNS, rows)


def _write_tables(folder: Path, tables: Tables) -> None:
    for split, name in FILE_OF_SPLIT.items():
        write_csv(folder / name, COLUMNS, ([row["text"], row["label"]] for row in tables.rows(split)))


HUB = HubFiles(
    (
        HubSource(
            dataset="PolyAI/banking77",
            revision="796a4623935746f71378f0ebd435635a8ce08e50",
            tables={"train": "data/train-*.parquet", "test": "data/test-*.parquet"},
            columns={"text": str, "label": Labels(77)},
            files=tuple(FILE_OF_SPLIT.values()),
            write=_write_tables,
        ),
    )
)
LAYOUT: LabelledLayout = Layout(
    name="banking77",
    license="CC BY 4.0",
    how_to_get=(
        "Put train.csv and test.csv of github.com/PolyAI-LDN/task-specific-datasets (folder banking_data) into {path}."
    ),
    read=read,
    write=write,
    hub=HUB,
)
