"""TRACE: eight tasks of many kinds for aligned models, in one order (Wang et al. 2023, arXiv 2310.06762).

The folder LLM-CL-Benchmark_5000 of BeyonderXX/TRACE, a folder for each task with train.json, eval.json and test.json:

    FOMC/train.json     [{"prompt": "What is the stance of: rates were raised ... Choose A, B or C.", "answer": "B"}]

Each task has its own metric, as upstream: equality for C-STANCE, FOMC and both NumGLUE, ROUGE-L of summaries for
MeetingBank, edit similarity for Py150, the first letter for ScienceQA, SARI for 20Minuten. Deviation: answers are
generated greedily, upstream samples at temperature 0.1. Apache-2.0 for the repository, the sources keep their own
terms. Chance: 1/3 for C-STANCE and FOMC, about 1/3 for ScienceQA, near 0 for the others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from cmt_cli.core.stream import Stream
from cmt_cli.data.files.fields import text_field
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import find, folder_with
from cmt_cli.data.instructions.instruction_files import records_of
from cmt_cli.data.instructions.world_instructions import Instructions
from cmt_cli.data.labelled.items import SPLITS, Item, LabelledCorpus, SplitPolicy
from cmt_cli.data.labelled.labelled_files import LabelledLayout, clean_corpus, files_at
from cmt_cli.data.labelled.labelled_stream import Format, Limits, text_stream

INNER = ("LLM-CL-Benchmark_5000", "TRACE-Benchmark/LLM-CL-Benchmark_5000", "LLM-CL-Benchmark")
NAMES = {"train": "train.json", "validation": "eval.json", "test": "test.json"}


def trace(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    on_bad_row: str,
    order: Sequence[str],
    missing_tasks: str,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Instructions,
) -> Stream:
    """Return the tasks of `order`, which are names of folders."""
    files = files_at(path, default_path, source, auto_may_generate, cache, on_bad_row)
    corpus, provenance = clean_corpus(
        replace(LAYOUT, read=partial(read, order=order)), files, generated, split_policy, format
    )
    return text_stream(corpus, provenance, order=order, missing_tasks=missing_tasks, limits=limits, format=format)


def read(path: Path, order: Sequence[str] | None = None) -> tuple[LabelledCorpus, list[Problem]]:
    """Read the tasks of `order`, or every folder that has a train.json."""
    problems: list[Problem] = []
    folder = folder_with(path, INNER, f"*/{NAMES['train']}*")
    tasks = sorted(entry for entry in folder.iterdir() if find(entry, NAMES["train"])) if folder is not None else []
    if not tasks:
        problems.append(Problem(path, None, "holds no folder of a task with train.json, eval.json and test.json"))
    splits: dict[str, list[Item]] = {split: [] for split in SPLITS}
    files = []
    for task in tasks:
        for split, name in NAMES.items():
            if (order is None or task.name in order) and (file := find(task, name)) is not None:
                files.append(file)
                splits[split] += _items(task.name, split, file, problems)
    return LabelledCorpus(splits, tuple(files)), problems


def _items(task: str, split: str, file: Path, problems: list[Problem]) -> list[Item]:
    items = []
    for index, record in enumerate(records_of(file, problems)):
        prompt, answer = (text_field(record, name, problems) for name in ("prompt", "answer"))
        if prompt is not None and answer is not None:
            items.append(Item(f"{task}-{split}-{index:05d}", task, {"prompt": prompt}, (answer,)))
    return items


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write a corpus in this layout."""
    for split, name in NAMES.items():
        rows: dict[str, list[dict[str, str]]] = {}
        for item in corpus.splits[split]:
            prompt = f"{item.fields['input']}\n{item.fields['definition']}\nAnswer:"
            rows.setdefault(item.task, []).append({"prompt": prompt, "answer": item.references[0]})
        for task, content in rows.items():
            (folder / task).mkdir(exist_ok=True)
            (folder / task / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


LAYOUT: LabelledLayout = Layout(
    name="trace",
    license="Apache-2.0 for the repository; the eight sources keep their own terms",
    how_to_get=(
        "Get the benchmark's data by the link in the README of github.com/BeyonderXX/TRACE and put its folder "
        "LLM-CL-Benchmark_5000 into {path}."
    ),
    read=read,
    write=write,
)
