"""The long-sequence benchmark: 15 classification tasks one by one, in the layout of O-LoRA's CL_Benchmark.

Tasks and orders are those of Razdaibiedina et al. 2023 (Progressive Prompts, arXiv 2301.12314) and Wang et al. 2023
(O-LoRA, arXiv 2310.14152). A folder for each task in a folder for its kind, e.g. `SC/yelp`, with `train.json`,
`dev.json`, `test.json` and `labels.json`:

    [{"label": "negative", "sentence": "Text: The soup came cold."}, ...]
    ["very negative", "negative", "neutral", "positive", "very positive"]

Upstream `dev.json` is a copy of `test.json`; where it is, it is not used, and a validation split is carved from the
training rows, so that nothing is chosen on test rows. MNLI has rows without a gold label ("-"): left out, counted.
Papers number orders differently (SAPT's order 4 is O-LoRA's order 6), so an order is its list of tasks; the aliases
o1 to o6 of the configuration follow O-LoRA. The repository is MIT; every set keeps its own terms. Chance is 1 / (labels
of the task): 1/2 to 1/14.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from cmt_cli.core.exceptions import UserError, counted, nearest
from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.stream import Stream
from cmt_cli.data.files.fields import text_field
from cmt_cli.data.files.json_document import JsonRecord, read_json
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import find, json_type
from cmt_cli.data.labelled.held_out import in_order
from cmt_cli.data.labelled.items import Item, LabelledCorpus, SplitPolicy
from cmt_cli.data.labelled.labelled_files import Generator, LabelledLayout, clean_corpus, files_at
from cmt_cli.data.labelled.labelled_stream import Format, Limits, labelled_stream

FILE_OF_SPLIT = {"train": "train.json", "validation": "dev.json", "test": "test.json"}
LABELS_FILE = "labels.json"
NO_LABEL = "-"  # of SNLI and MNLI: the annotators did not agree
KIND_OF_TASK = {
    **dict.fromkeys(("agnews", "dbpedia", "yahoo"), "TC"),
    **dict.fromkeys(("amazon", "yelp", "IMDB", "SST-2"), "SC"),
    **dict.fromkeys(("MNLI", "CB", "RTE"), "NLI"),
}  # any other task's kind has its own name
BETWEEN_OPTIONS = ", "
COMPETING = ("task", "seen")


def long_sequence(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    on_bad_row: str,
    order: str | Sequence[str],
    orders: Mapping[str, Sequence[str]],
    missing_tasks: str,
    competing_labels: str,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Generator,
) -> Stream:
    """Return the tasks of `order`, a list or the alias of one of `orders`.

    A prompt template may hold {options}, the labels of the task. `competing_labels` are those of the "task", which
    stand among the options, or all that were "seen" so far. A task that has no files is an "error" of `missing_tasks`,
    or left out with "skip".
    """
    names = _order(order, orders)
    files = files_at(path, default_path, source, auto_may_generate, cache, on_bad_row)
    layout = replace(LAYOUT, read=partial(read, tasks=tuple(names)))
    corpus, provenance = clean_corpus(layout, files, generated, split_policy, format)
    divided, note = in_order(corpus.splits, names, missing_tasks)
    labels = [item.fields["options"].split(BETWEEN_OPTIONS) for item in (splits["train"][0] for _, splits in divided)]
    provenance = replace(provenance, note=f"order {', '.join(names)}").noted(provenance.note, note)
    stream = labelled_stream(divided, labels=labels, limits=limits, format=format, provenance=provenance)
    if one_of(competing_labels, COMPETING, "data.competing_labels") == "seen":
        return stream
    return replace(stream, tests=[replace(test, labels_by_task=()) for test in stream.tests])


def _order(order: str | Sequence[str], orders: Mapping[str, Sequence[str]]) -> list[str]:
    if not isinstance(order, str):
        return list(order)
    if order not in orders:
        raise UserError(
            f"data.order={order} is no alias; there are {', '.join(orders)}.{nearest(order, orders)} A list of tasks "
            "may be given as well, such as data.order=[dbpedia,amazon,agnews]."
        )
    return list(orders[order])


def read(path: Path, tasks: Sequence[str] | None = None) -> tuple[LabelledCorpus, list[Problem]]:
    """Read the benchmark's folder, all its tasks or those that are named; a named one without files is left out."""
    problems: list[Problem] = []
    splits: dict[str, list[Item]] = {split: [] for split in FILE_OF_SPLIT}
    files: list[Path] = []
    unlabelled: Counter[str] = Counter()
    folders = [folder for folder in _task_folders(path) if tasks is None or folder.name in tasks]
    for folder in folders:
        labels_file = find(folder, LABELS_FILE)
        labels = _labels(labels_file, folder, problems)
        if labels_file is None or not labels:
            continue
        files.append(labels_file)
        for split, name in FILE_OF_SPLIT.items():
            file = find(folder, name)
            if file is not None:
                files.append(file)
                splits[split] += _items(file, split, labels, problems, unlabelled)
            elif split != "validation":
                problems.append(Problem(folder, None, f"holds no {name}"))
    if not folders:
        wanted = "no task" if tasks is None else f"none of the tasks {', '.join(tasks)}"
        problems.append(Problem(path, None, f"holds {wanted}: no folder like SC/yelp with {LABELS_FILE} in it"))
    notes = tuple(
        f"{counted(number, 'row')} of {task} without a gold label left out" for task, number in unlabelled.items()
    )
    return LabelledCorpus(splits, tuple(files), notes), problems


def _task_folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    inner = [folder for kind in sorted(path.iterdir()) if kind.is_dir() for folder in sorted(kind.iterdir())]
    return [folder for folder in inner if folder.is_dir() and any(folder.glob("*.json*"))]


def _labels(file: Path | None, folder: Path, problems: list[Problem]) -> list[str]:
    if file is None:
        problems.append(Problem(folder, None, f"holds no {LABELS_FILE}"))
        return []
    document = read_json(file, problems)
    if document is None:
        return []
    names = document.value if isinstance(document.value, list) else []
    if len(names) < 2 or not all(isinstance(name, str) and name.strip() and name.isprintable() for name in names):
        problems.append(Problem(file, None, "must be a list of two labels or more, printable text"))
        return []
    if joined := [name for name in names if BETWEEN_OPTIONS in name]:
        problems.append(
            Problem(file, None, f"the label '{joined[0]}' holds '{BETWEEN_OPTIONS}', which divides options")
        )
        return []
    return [name.strip() for name in names]


def _items(
    file: Path, split: str, labels: Sequence[str], problems: list[Problem], unlabelled: Counter[str]
) -> list[Item]:
    """Return the rows of a file; those that the annotators did not agree on are counted by task."""
    document = read_json(file, problems)
    if document is None:
        return []
    if not isinstance(document.value, list) or not document.value:
        problems.append(Problem(file, None, "must be a list of objects with label and sentence, and not empty"))
        return []
    task, items = file.parent.name, []
    for keys, values in document.rows((), document.value):
        if not isinstance(values, dict):
            problems.append(document.problem(keys, f"must be an object, not {json_type(values)}"))
            continue
        record = JsonRecord(document, keys, values)
        text, label = text_field(record, "sentence", problems), text_field(record, "label", problems)
        if label == NO_LABEL and label not in labels:
            unlabelled[task] += 1
        elif label is not None and label not in labels:
            problems.append(record.problem(f"the label '{label}' is none of {LABELS_FILE}: {', '.join(labels)}"))
        elif text is not None and label is not None:
            fields = {"text": text, "options": BETWEEN_OPTIONS.join(labels)}
            items.append(Item(f"{task}/{split}-{keys[-1]:06d}", task, fields, (label,), (label,)))
    return items


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write a corpus in this layout."""
    labels: dict[str, dict[str, None]] = {}
    for item in corpus.splits["train"]:
        labels.setdefault(item.task, {})[item.labels[0]] = None
    for task, names in labels.items():
        inner = folder / KIND_OF_TASK.get(task, task) / task
        inner.mkdir(parents=True)
        _put(inner / LABELS_FILE, names)
        for split, name in FILE_OF_SPLIT.items():
            items = (item for item in corpus.splits[split] if item.task == task)
            _put(inner / name, ({"label": item.labels[0], "sentence": item.fields["text"]} for item in items))


def _put(file: Path, values: Iterable[object]) -> None:
    file.write_text(json.dumps(list(values), ensure_ascii=False), encoding="utf-8")


LAYOUT: LabelledLayout = Layout(
    name="long_sequence",
    license="MIT (O-LoRA's repository); each data set keeps its own terms",
    how_to_get="Put the folder CL_Benchmark of github.com/cmnfriend/O-LoRA, with TC/, SC/, NLI/ and so on, at {path}.",
    read=read,
    write=write,
)
