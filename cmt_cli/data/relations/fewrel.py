"""FewRel: relations of Wikipedia sentences, a few at a time (Han et al. 2018, arXiv 1810.10147).

The files of thunlp/FewRel (folder data): `train_wiki.json` (64 relations) and `val_wiki.json` (16), which together hold
80 relations of 700 rows each, and `pid2name.json`, the names that are answered with:

    {"P9": [{"tokens": ["Ann", "Lee", "teaches", "Bo", "Day", "."],
             "h": ["ann lee", "Q1", [[0, 1]]], "t": ["bo day", "Q2", [[3, 4]]]}, ...], ...}
    {"P9": ["teacher of", "the first taught the second"], ...}

FewRel 2.0 (Gao et al. 2019, arXiv 1910.07124) adds files of other domains, `val_pubmed.json` for one, whose relations
are named by their keys. They are read from a folder without the files of Wikipedia, or where `path` is such a file.

Two protocols share the name, and their numbers do not compare: 10 tasks of 8 relations (RP-CRE, Cui et al. 2021) and 8
tasks of 10 (the codebase of Zheng et al. 2024, arXiv 2312.07887). RP-CRE divides the rows of each relation 420/140/140;
the codebase reads a pickled file of such a division, in that file's order of relations.
Deviation: rows and orders are drawn here by our own seeds, so they are not theirs row by row.
MIT. Chance is 1 / (relations seen), 1/80 at the end.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from cmt_cli.core.exceptions import counted
from cmt_cli.core.stream import Stream
from cmt_cli.data.files.json_document import JsonDocument, read_json
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import find, json_type
from cmt_cli.data.hub.hub_files import CONVERTED, HubFiles, HubSource, Tables
from cmt_cli.data.hub.shapes import Labels
from cmt_cli.data.labelled.items import Item, LabelledCorpus, SplitPolicy, label_groups, labels_of
from cmt_cli.data.labelled.labelled_files import Generator, LabelledLayout, clean_corpus, files_at
from cmt_cli.data.labelled.labelled_stream import Format, Limits, label_stream
from cmt_cli.data.relations.relation_split import RelationSplit, joined, positions_of, tokens_fault, tokens_of

FILES = ("train_wiki.json", "val_wiki.json")
OTHER_FILES = ("val_pubmed.json", "val_semeval.json", "val_nyt.json")  # of FewRel 2.0
NAMES = "pid2name.json"
PID = re.compile(r"P\d+")
TASK = "wiki"
ENTITIES = {"head": "h", "tail": "t"}
VAL_SHARE = 5  # every fifth generated relation goes to val_wiki.json, as 16 of 80 do


def fewrel(
    *,
    name: str,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    on_bad_row: str,
    num_tasks: int,
    labels_per_task: int | None,
    order_seed: int | None,
    split: RelationSplit,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Generator,
) -> Stream:
    """Return FewRel with tasks of a few relations each; `name` is the protocol's.

    `labels_per_task` of None divides all relations evenly; `order_seed` shuffles them, None keeps the order of the
    files. `split` divides the rows of each relation.
    """
    files = files_at(path, default_path, source, auto_may_generate, cache, on_bad_row)
    layout = dataclasses.replace(LAYOUT, name=name, read=split.after(read))
    corpus, provenance = clean_corpus(layout, files, generated, split_policy, format)
    labels = labels_of(corpus.splits["train"])
    groups = label_groups(labels, num_tasks=num_tasks, labels_per_task=labels_per_task, seed=order_seed)
    return label_stream(corpus, provenance, groups=groups, limits=limits, format=format)


def read(path: Path) -> tuple[LabelledCorpus, list[Problem]]:
    """Read the folder of the released files; all rows are in the training split, since the files divide none."""
    problems: list[Problem] = []
    found = {name: find(path, name) for name in FILES}
    files = [file for file in found.values() if file is not None]
    files = files or [file for name in OTHER_FILES if (file := find(path, name)) is not None]
    if path.is_file():
        files = [path]
    if not files:
        problems.append(Problem(path, None, f"holds neither {' nor '.join(FILES)}"))
    name_file = find(path.parent if path.is_file() else path, NAMES)
    names = _names(name_file, problems) if name_file is not None else {}
    is_of_wikipedia = any(file.name.startswith(FILES) for file in files)
    if name_file is None and (is_of_wikipedia or not files):
        problems.append(Problem(path, None, f"holds no {NAMES}, the names of the relations"))
        return LabelledCorpus({}, ()), problems
    items: list[Item] = []
    known: set[str] = set()
    for file in files:
        items += _relations(file, names, known, problems)
    missing = [name for name, file in found.items() if file is None] if is_of_wikipedia else []
    notes = (f"{counted(len(known), 'relation')}, {missing[0]} is not there",) if missing else ()
    return LabelledCorpus({"train": items}, (*files, *filter(None, (name_file,))), notes), problems


def _object(file: Path, what: str, problems: list[Problem]) -> JsonDocument | None:
    document = read_json(file, problems)
    if document is None or (isinstance(document.value, dict) and document.value):
        return document
    given = "empty" if document.value == {} else json_type(document.value)
    problems.append(Problem(file, None, f"must be an object that maps each relation to {what}, not {given}"))
    return None


def _names(file: Path, problems: list[Problem]) -> dict[str, str]:
    """Return the name of each relation; two relations of one name could not be told apart."""
    document = _object(file, "[name, description]", problems)
    names: dict[str, str] = {}
    for pid, entry in document.value.items() if document is not None else ():
        if isinstance(entry, list) and entry and isinstance(entry[0], str) and entry[0].strip():
            names[pid] = joined([entry[0]])
        else:
            problems.append(Problem(file, None, f"{pid} must be [name, description] with a name"))
    return names


def _relations(file: Path, names: dict[str, str], known: set[str], problems: list[Problem]) -> list[Item]:
    document = _object(file, "a list of rows", problems)
    if document is None:
        return []
    items: list[Item] = []
    of_name = Counter(names.values())
    for pid, rows in document.value.items():
        fault = None
        if not isinstance(rows, list) or not rows:
            fault = f"{pid} must be a list of rows, not {'empty' if rows == [] else json_type(rows)}"
        elif pid in known:
            fault = f"{pid} is in an earlier file too"
        elif pid not in names and PID.fullmatch(pid):
            fault = f"the relation {pid} has no name in {NAMES}"
        elif of_name[names.get(pid, "")] > 1:
            fault = f"the relation {pid} shares the name '{names[pid]}' with another of {NAMES}"
        if fault:
            problems.append(Problem(file, None, fault))
            continue
        known.add(pid)
        name = names.get(pid) or joined(pid.replace("_", " ").split())
        for keys, row in document.rows((pid,), rows):
            if fault := _fault(row):
                problems.append(document.problem(keys, fault))
            else:
                items.append(_item(f"{pid}-{keys[-1]:04d}", row, name))
    return items


def _item(name: str, row: dict[str, Any], label: str) -> Item:
    tokens = row["tokens"]
    mentions = {key: joined([tokens[at] for at in row[short][2][0]]) for key, short in ENTITIES.items()}
    return Item(name, TASK, {"text": joined(tokens), **mentions}, (label,), (label,))


def _fault(row: Any) -> str | None:
    if not isinstance(row, dict):
        return f"must be an object with 'tokens', 'h' and 't', not {json_type(row)}"
    if fault := tokens_fault(row.get("tokens"), "tokens"):
        return fault
    for key in ENTITIES.values():
        try:
            positions = row[key][2][0]
        except (KeyError, IndexError, TypeError):
            return f"'{key}' must be [name, id, [[positions of tokens], ...]]"
        if not isinstance(positions, list) or not positions or any(type(at) is not int for at in positions):
            return f"'{key}' must give the positions of its tokens as a list of whole numbers"
        if not all(0 <= at < len(row["tokens"]) for at in positions):
            return f"'{key}' stands at {positions}, but the sentence has {counted(len(row['tokens']), 'token')}"
        if not joined([row["tokens"][at] for at in positions]):
            return f"'{key}' is blank"
    return None


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write a corpus in this layout, the rows of all splits together."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for items in corpus.splits.values():
        for item in items:
            rows.setdefault(item.labels[0], []).append(_row(item))
    pids = {label: f"W{index}" for index, label in enumerate(rows)}
    held = {label for index, label in enumerate(rows) if index % VAL_SHARE == VAL_SHARE - 1}
    for name, labels in zip(FILES, (rows.keys() - held, held), strict=True):
        document = {pids[label]: rows[label] for label in rows if label in labels}
        (folder / name).write_text(json.dumps(document, indent=0) + "\n", encoding="utf-8")
    names = {pid: [label, f"the {label} of the generated world"] for label, pid in pids.items()}
    (folder / NAMES).write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")


def _row(item: Item) -> dict[str, Any]:
    tokens = tokens_of(item.fields["text"])
    return {"tokens": tokens} | {
        short: [item.fields[key].lower(), "", [positions_of(item.fields[key], tokens)]]
        for key, short in ENTITIES.items()
    }


def _write_tables(folder: Path, tables: Tables) -> None:
    names: dict[str, list[str]] = {}
    for name in FILES:
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in tables.rows(name):
            mentions = {
                short: [row[key]["text"], row[key]["type"], row[key]["indices"]] for key, short in ENTITIES.items()
            }
            rows.setdefault(row["relation"], []).append({"tokens": row["tokens"], **mentions})
            names[row["relation"]] = row["names"]
        (folder / name).write_text(json.dumps(rows), encoding="utf-8")
    (folder / NAMES).write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")


_MENTION = {"text": str, "type": str, "indices": [[int]]}
HUB = HubFiles(
    (
        HubSource(
            dataset="thunlp/few_rel",
            revision=CONVERTED,
            tables={name: f"default/{name.removesuffix('.json')}/*.parquet" for name in FILES},
            columns={
                "relation": Labels(80),
                "tokens": [str],
                **dict.fromkeys(ENTITIES, _MENTION),
                "names": [str],  # of the relation: its name and what it means
            },
            files=(*FILES, NAMES),
            write=_write_tables,
        ),
    )
)
LAYOUT: LabelledLayout = Layout(
    name="fewrel",
    license="MIT",
    how_to_get="Put train_wiki.json, val_wiki.json and pid2name.json of github.com/thunlp/FewRel (folder data) "
    "into {path}.",
    read=read,
    write=write,
    hub=HUB,
)
