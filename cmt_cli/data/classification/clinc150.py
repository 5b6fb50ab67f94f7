"""CLINC150: intents of requests to an assistant, a few classes at a time (Larson et al. 2019, arXiv 1909.02027).

The files of clinc/oos-eval: `data_full.json` (or data_small, data_imbalanced, data_oos_plus; lists of [text, intent] by
split) and, for tasks that are domains, `domains.json`:

    {"train": [["when is my card due", "bill_due"], ...], "val": [...], "test": [...], "oos_train": [...], ...}
    {"credit_cards": ["bill_due", ...], ...}

Class-incremental by default: 15 tasks of 10 intents, one label space over all intents seen. Out-of-scope rows belong to
no task and are not used. CC BY 3.0. Chance is 1 / (intents seen), 1/150 at the end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.stream import Stream
from cmt_cli.data.files.fields import text_field
from cmt_cli.data.files.json_document import JsonDocument, JsonRecord, read_json
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import find, json_type
from cmt_cli.data.hub.hub_files import HubFiles, HubSource, Tables
from cmt_cli.data.hub.shapes import Labels
from cmt_cli.data.labelled.items import Item, LabelledCorpus, SplitPolicy, label_groups, labels_of
from cmt_cli.data.labelled.labelled_files import Generator, LabelledLayout, clean_corpus, files_at
from cmt_cli.data.labelled.labelled_stream import Format, Limits, label_stream, task_stream

PLUS = "data_oos_plus.json"  # with the rows of data_full.json, and more of those that are out of scope
FILES = ("data_full.json", "data_small.json", "data_imbalanced.json", PLUS)
KEYS = {"train": "train", "validation": "val", "test": "test"}
NO_DOMAIN = "none"
OUT_OF_SCOPE = "oos"
TASKS = ("labels", "domains")


def clinc150(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    on_bad_row: str,
    tasks: str,
    num_tasks: int,
    labels_per_task: int | None,
    order_seed: int | None,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Generator,
) -> Stream:
    """Return CLINC150 with tasks of a few intents each ("labels"), or of a domain's intents ("domains").

    `num_tasks` and `labels_per_task` are those of "labels"; `order_seed` shuffles intents or domains, None keeps the
    order of the files.
    """
    files = files_at(path, default_path, source, auto_may_generate, cache, on_bad_row)
    corpus, provenance = clean_corpus(LAYOUT, files, generated, split_policy, format)
    items = corpus.splits["train"]
    if one_of(tasks, TASKS, "data.tasks") == "domains":
        order = _domain_order(items, order_seed)
        return task_stream(corpus, provenance, order=order, limits=limits, format=format)
    labels = labels_of(items)
    groups = label_groups(labels, num_tasks=num_tasks, labels_per_task=labels_per_task, seed=order_seed)
    return label_stream(corpus, provenance, groups=groups, limits=limits, format=format)


def _domain_order(items: Sequence[Item], seed: int | None) -> list[str]:
    domains = list(dict.fromkeys(item.task for item in items))
    if NO_DOMAIN in domains:
        intents = labels_of(item for item in items if item.task == NO_DOMAIN)
        raise UserError(
            f"data.tasks=domains, but no domain is known of {counted(len(intents), 'intent')}, '{intents[0]}' among "
            "them. Put domains.json beside the data and list them in it, or set data.tasks=labels."
        )
    return label_groups(domains, num_tasks=1, labels_per_task=None, seed=seed)[0]


def read(path: Path) -> tuple[LabelledCorpus, list[Problem]]:
    """Read the folder of the released files, or one of them."""
    problems: list[Problem] = []
    folder = path if path.is_dir() else path.parent
    file = path if path.is_file() else next((found for name in FILES if (found := find(folder, name))), None)
    if file is None:
        problems.append(Problem(path, None, f"holds none of {', '.join(FILES)}"))
        return LabelledCorpus({}, ()), problems
    domain_file = find(folder, "domains.json")
    domains = _domains(domain_file, problems)
    document = read_json(file, problems)
    splits: dict[str, list[Item]] = {}
    for split, key in KEYS.items():
        if document is None:
            break
        known = {item.labels[0] for item in splits["train"]} if splits else None
        splits[split] = _items(document, key, domains, known, problems)
    files = tuple(f for f in (file, domain_file) if f is not None)
    return LabelledCorpus(splits, files), problems


def _domains(file: Path | None, problems: list[Problem]) -> dict[str, str]:
    document = read_json(file, problems) if file is not None else None
    if document is None:
        return {}
    if not isinstance(document.value, dict) or not all(isinstance(names, list) for names in document.value.values()):
        problems.append(Problem(document.file, None, "must be an object that maps each domain to a list of intents"))
        return {}
    return {str(intent): domain for domain, intents in document.value.items() for intent in intents}


def _items(
    document: JsonDocument, key: str, domains: dict[str, str], known: set[str] | None, problems: list[Problem]
) -> list[Item]:
    if not isinstance(document.value, dict) or not isinstance(document.value.get(key), list):
        message = f"must be an object with a list '{key}' of [text, intent] pairs"
        problems.append(Problem(document.file, None, message))
        return []
    if not document.value[key]:
        problems.append(Problem(document.file, None, f"the list '{key}' is empty"))
    items = []
    for keys, pair in document.rows((key,), document.value[key]):
        if not isinstance(pair, list) or len(pair) != 2:
            problems.append(document.problem(keys, f"must be a pair [text, intent], not {json_type(pair)}"))
            continue
        record = JsonRecord(document, keys, {"text": pair[0], "intent": pair[1]})
        text, intent = text_field(record, "text", problems), text_field(record, "intent", problems)
        if text is None or intent is None:
            continue
        label = intent.replace("_", " ")
        if known is not None and label not in known:
            problems.append(record.problem(f"the intent '{intent}' has no training rows"))
            continue
        items.append(Item(f"{key}-{keys[-1]:05d}", domains.get(intent, NO_DOMAIN), {"text": text}, (label,), (label,)))
    return items


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write a corpus in this layout."""
    rows = {
        key: [[item.fields["text"], item.labels[0].replace(" ", "_")] for item in corpus.splits[split]]
        for split, key in KEYS.items()
    }
    oos: dict[str, list[list[str]]] = {f"{OUT_OF_SCOPE}_{key}": [] for key in KEYS.values()}
    domains: dict[str, list[str]] = {}
    for item in corpus.splits["train"]:
        if item.task == NO_DOMAIN:
            continue
        intents = domains.setdefault(item.task, [])
        if (intent := item.labels[0].replace(" ", "_")) not in intents:
            intents.append(intent)
    (folder / FILES[0]).write_text(json.dumps({**rows, **oos}, indent=0) + "\n", encoding="utf-8")
    (folder / "domains.json").write_text(json.dumps(domains, indent=1) + "\n", encoding="utf-8")


def _write_tables(folder: Path, tables: Tables) -> None:
    """Write the file whose rows out of scope stand among the others on the hub; it has no domains there."""
    lists: dict[str, list[list[str]]] = {}
    for split, key in KEYS.items():
        for row in tables.rows(split):
            name = f"{OUT_OF_SCOPE}_{key}" if row["intent"] == OUT_OF_SCOPE else key
            lists.setdefault(name, []).append([row["text"], row["intent"]])
    (folder / PLUS).write_text(json.dumps(lists, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")


HUB = HubFiles(
    (
        HubSource(
            dataset="clinc/clinc_oos",
            revision="155b9c710419136e17307b80d0a13e68cd46b4ec",
            tables={split: f"plus/{split}-*.parquet" for split in KEYS},
            columns={"text": str, "intent": Labels(151)},
            files=(PLUS,),
            write=_write_tables,
        ),
    )
)
LAYOUT: LabelledLayout = Layout(
    name="clinc150",
    license="CC BY 3.0",
    how_to_get="Put data_full.json and domains.json of github.com/clinc/oos-eval (folder data) into {path}.",
    read=read,
    write=write,
    hub=HUB,
)
