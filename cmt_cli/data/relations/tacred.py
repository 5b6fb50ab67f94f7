"""TACRED: relations of people and organizations, a few at a time (Zhang et al. 2017, EMNLP D17-1004).

The json files of the release LDC2018T24 (folder data/json), `train.json`, `dev.json` and `test.json`; ends of mentions
are inclusive:

    [{"id": "e1", "relation": "per:title", "token": ["Ann", "Lee", "is", "a", "vet", "."], "subj_start": 0,
      "subj_end": 1, "obj_start": 4, "obj_end": 4, "subj_type": "PERSON", "obj_type": "TITLE", ...}, ...]

The data may not be passed on: bring your own copy. As in RP-CRE (Cui et al. 2021, ACL) the rows of all files are pooled
and each relation's divided anew: a fifth, at most 40, are tested, and of the others at most 320 are learned from;
no_relation is dropped and so is per:country_of_death, which leaves 40 relations, in 10 tasks of 4. Their code takes 41
for 40. The codebase of Zheng et al. 2024 (arXiv 2312.07887) has 8 tasks of 5. "per:title" is answered as "person:
title". Chance is 1 / (relations seen), 1/40 at the end.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cmt_cli.core.exceptions import counted
from cmt_cli.core.stream import Stream
from cmt_cli.data.files.fields import text_field
from cmt_cli.data.files.json_document import JsonRecord, read_json
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import find, json_type
from cmt_cli.data.labelled.items import Item, LabelledCorpus, SplitPolicy, label_groups, labels_of
from cmt_cli.data.labelled.labelled_files import Generator, LabelledLayout, clean_corpus, files_at
from cmt_cli.data.labelled.labelled_stream import Format, Limits, label_stream
from cmt_cli.data.relations.relation_split import RelationSplit, joined, positions_of, tokens_fault, tokens_of

FILE_OF_SPLIT = {"train": "train.json", "validation": "dev.json", "test": "test.json"}
SUBFOLDERS = (".", "data/json", "tacred/data/json")  # of the release
KINDS = {"per": "person", "org": "organization"}
ENTITIES = {"head": "subj", "tail": "obj"}


def tacred(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    on_bad_row: str,
    num_tasks: int,
    labels_per_task: int | None,
    dropped_relations: Sequence[str],
    order_seed: int | None,
    split: RelationSplit,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Generator,
) -> Stream:
    """Return TACRED with tasks of a few relations each, its rows divided by `split`.

    `dropped_relations`, as the files spell them, are left out. `labels_per_task` of None divides the others evenly;
    `order_seed` shuffles them, None keeps the order of the files.
    """
    files = files_at(path, default_path, source, auto_may_generate, cache, on_bad_row)
    dropped = frozenset(map(answer_of, dropped_relations))

    def read_divided(folder: Path) -> tuple[LabelledCorpus, list[Problem]]:
        corpus, problems = read(folder)
        kept = {
            name: [item for item in items if item.labels[0] not in dropped] for name, items in corpus.splits.items()
        }
        return split.applied(dataclasses.replace(corpus, splits=kept)), problems

    layout = dataclasses.replace(LAYOUT, read=read_divided)
    corpus, provenance = clean_corpus(layout, files, generated, split_policy, format)
    labels = labels_of(corpus.splits["train"])
    groups = label_groups(labels, num_tasks=num_tasks, labels_per_task=labels_per_task, seed=order_seed)
    return label_stream(corpus, provenance, groups=groups, limits=limits, format=format)


def answer_of(relation: str) -> str:
    """Return a relation in words: "per:city_of_birth" is "person: city of birth"."""
    kind, colon, name = relation.replace("_", " ").partition(":")
    return f"{KINDS.get(kind, kind)}: {name}" if colon else kind


def read(path: Path) -> tuple[LabelledCorpus, list[Problem]]:
    """Read the three files of a folder, or of the release's folder inside it, in the splits that they are."""
    problems: list[Problem] = []
    files: list[Path] = []
    splits: dict[str, list[Item]] = {}
    for split, name in FILE_OF_SPLIT.items():
        file = next((found for folder in SUBFOLDERS if (found := find(path / folder, name))), None)
        if file is None:
            problems.append(Problem(path, None, f"holds no {name}"))
            continue
        files.append(file)
        splits[split] = _items(file, split, problems)
    return LabelledCorpus(splits, tuple(files)), problems


def _items(file: Path, split: str, problems: list[Problem]) -> list[Item]:
    document = read_json(file, problems)
    if document is None:
        return []
    if not isinstance(document.value, list) or not document.value:
        given = "empty" if document.value == [] else json_type(document.value)
        problems.append(Problem(file, None, f"must be a list of rows, not {given}"))
        return []
    rows = document.rows((), document.value)
    items = [_item(JsonRecord(document, keys, row), f"{split}-{keys[-1]:06d}", problems) for keys, row in rows]
    return [item for item in items if item is not None]


def _item(record: JsonRecord, name: str, problems: list[Problem]) -> Item | None:
    row = record.values
    fault = (
        tokens_fault(row.get("token"), "token") if isinstance(row, dict) else f"must be an object, not {json_type(row)}"
    )
    if not fault:
        faults = (_mention_fault(row, part) for part in ENTITIES.values())
        fault = next((found for found in faults if found), None)
    if fault:
        problems.append(record.problem(fault))
        return None
    relation = text_field(record, "relation", problems)
    if relation is None:
        return None
    tokens, label = row["token"], answer_of(relation)
    mentions = {key: joined(tokens[row[f"{part}_start"] : row[f"{part}_end"] + 1]) for key, part in ENTITIES.items()}
    return Item(
        name, KINDS.get(relation.partition(":")[0], ""), {"text": joined(tokens), **mentions}, (label,), (label,)
    )


def _mention_fault(row: Mapping[str, Any], part: str) -> str | None:
    start, end = row.get(f"{part}_start"), row.get(f"{part}_end")
    if type(start) is not int or type(end) is not int:
        return f"'{part}_start' and '{part}_end' must be whole numbers"
    if not 0 <= start <= end < len(row["token"]):
        return (
            f"the mention from {part}_start {start} to {part}_end {end} is not in the "
            f"{counted(len(row['token']), 'token')}"
        )
    return None if joined(row["token"][start : end + 1]) else f"the mention from {part}_start is blank"


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write a corpus in this layout."""
    for split, name in FILE_OF_SPLIT.items():
        rows = [_row(item) for item in corpus.splits[split]]
        (folder / name).write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")


def _row(item: Item) -> dict[str, Any]:
    tokens = tokens_of(item.fields["text"])
    row: dict[str, Any] = {"id": item.id, "relation": f"per:{item.labels[0].replace(' ', '_')}", "token": tokens}
    for key, part in ENTITIES.items():
        positions = positions_of(item.fields[key], tokens)
        row |= {f"{part}_start": positions[0], f"{part}_end": positions[-1]}
    return row


LAYOUT: LabelledLayout = Layout(
    name="tacred",
    license="LDC User Agreement (LDC2018T24), not to be passed on",
    how_to_get="TACRED may not be distributed. Obtain LDC2018T24 from the Linguistic Data Consortium "
    "(catalog.ldc.upenn.edu/LDC2018T24) and put train.json, dev.json and test.json of its folder data/json "
    "into {path}.",
    read=read,
    write=write,
)
