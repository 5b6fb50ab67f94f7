"""Super-NaturalInstructions: tasks by their definitions, one after the other (Wang et al. 2022, arXiv 2204.07705).

Upstream's file of a task, tasks/task1572_samsum_summary.json, or SAPT's folder of the same name (circle-hit/SAPT,
CL_Benchmark/SuperNI, arXiv 2401.08295) with that layout in train.json, dev.json and test.json:

    {"Definition": ["Write a short summary of the dialogue."], "Positive Examples": [{"input": "A: Tea? B: Yes.",
     "output": "B wants tea.", "explanation": "..."}], "Instances": [{"id": "task1572-7f", "input": "A: Lunch? B: One.",
     "output": ["They have lunch at one."]}], ...}

Orders name tasks by number. Upstream's files name no splits, so `held_out` draws test rows; SAPT's dev rows are its
test rows and are then not used. Apache-2.0 upstream, none stated for SAPT's packaging. Scored by ROUGE-L; chance
depends on the task (two classes: about 1/2).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cmt_cli.core.stream import Provenance, Stream
from cmt_cli.data.files.fields import answers_field, optional_id_field, text_field
from cmt_cli.data.files.json_document import JsonDocument, read_json
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import find, folder_with, json_type
from cmt_cli.data.instructions.instruction_files import records_in
from cmt_cli.data.instructions.superni_hub import HUB
from cmt_cli.data.instructions.world_instructions import Instructions
from cmt_cli.data.labelled.held_out import HeldOut
from cmt_cli.data.labelled.items import SPLITS, Item, LabelledCorpus, SplitPolicy
from cmt_cli.data.labelled.labelled_files import LabelledLayout, clean_corpus, files_at
from cmt_cli.data.labelled.labelled_stream import Format, Limits, text_stream
from cmt_cli.data.labelled.templates import filled

INNER = ("tasks", "SuperNI", "CL_Benchmark/SuperNI")
NAMES = {"train": "train.json", "validation": "dev.json", "test": "test.json"}
NUM_SHOWN = 2  # generated positive examples of a task
NUMBER = re.compile(r"task(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shots:
    """The positive examples that a prompt's field {examples} shows: the first `number`, each by `template`."""

    number: int
    template: str  # holds {number}, {input} and {output}


def superni(
    *,
    name: str,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    on_bad_row: str,
    order: Sequence[int],
    missing_tasks: str,
    shots: Shots,
    held_out: HeldOut,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Instructions,
) -> Stream:
    """Return the tasks whose numbers are in `order`, as the stream `name`."""
    files = files_at(path, default_path, source, auto_may_generate, cache, on_bad_row)
    layout = numbered_layout(name, order, shots, held_out)
    return numbered_stream(
        clean_corpus(layout, files, generated, split_policy, format), order, missing_tasks, limits, format
    )


def numbered_layout(name: str, order: Sequence[int], shots: Shots, held_out: HeldOut) -> LabelledLayout:
    """Return the layout of a stream of that name, of which only the tasks with the numbers of `order` are read."""
    return replace(LAYOUT, name=name, read=partial(read, order=order, shots=shots, held_out=held_out))


def numbered_stream(
    found: tuple[LabelledCorpus, Provenance], order: Sequence[int], missing_tasks: str, limits: Limits, format: Format
) -> Stream:
    """Return the tasks of a corpus with the numbers of `order`, in that order."""
    corpus, provenance = found
    names = {number_of(item.task): item.task for item in corpus.splits["train"]}
    return text_stream(
        corpus,
        provenance,
        order=[names.get(number, f"task{number:03d}") for number in order],
        missing_tasks=missing_tasks,
        limits=limits,
        format=format,
    )


def number_of(task: str) -> int | None:
    """Return the number in a task's name."""
    match = NUMBER.match(task)
    return int(match[1]) if match else None


def read(
    path: Path, order: Sequence[int] | None = None, shots: Shots | None = None, held_out: HeldOut | None = None
) -> tuple[LabelledCorpus, list[Problem]]:
    """Read the tasks of `order`, or all, from files of whole tasks or from folders of splits."""
    problems: list[Problem] = []
    splits: dict[str, list[Item]] = {split: [] for split in SPLITS}
    files: list[Path] = []
    for task, split, file in _task_files(path, order, problems):
        files.append(file)
        items = _items(task, split or "train", file, shots, problems)
        drawn = held_out.drawn(task, len(items)) if split is None and held_out is not None else frozenset()
        for index, item in enumerate(items):
            splits["test" if index in drawn else split or "train"].append(item)
    return LabelledCorpus(splits, tuple(files)), problems


def _task_files(
    path: Path, order: Sequence[int] | None, problems: list[Problem]
) -> Iterator[tuple[str, str | None, Path]]:
    """Yield task, split and file; the split is None for a file that holds a whole task."""
    folder = folder_with(path, INNER, "task*")
    if folder is None:
        problems.append(Problem(path, None, "holds no task... files or folders of Super-NaturalInstructions"))
        return
    for entry in sorted(folder.glob("task*")):
        task = entry.name.partition(".json")[0]
        if order is not None and number_of(task) not in order:
            continue
        if entry.is_file():
            yield task, None, entry
            continue
        for split, name in NAMES.items():
            if (file := find(entry, name)) is not None:
                yield task, split, file


def _items(task: str, split: str, file: Path, shots: Shots | None, problems: list[Problem]) -> list[Item]:
    document = read_json(file, problems)
    if document is None:
        return []
    definition = _definition(document, problems)
    if definition is None:
        return []
    examples = "" if shots is None else _examples(document, shots, problems)
    items = []
    instances = document.value.get("Instances")
    for index, record in enumerate(records_in(document, ("Instances",), instances, problems)):
        text = text_field(record, "input", problems)
        references = answers_field(record, ["output"], problems)
        if text is None or not references:
            continue
        identity = optional_id_field(record, "id", problems) or f"{task}-{split}-{index:05d}"
        fields = {"definition": definition, "examples": examples, "input": text}
        items.append(Item(identity, task, fields, references))
    return items


def _definition(document: JsonDocument, problems: list[Problem]) -> str | None:
    if not isinstance(document.value, dict):
        problems.append(Problem(document.file, None, f"must be an object, not {json_type(document.value)}"))
        return None
    given = document.value.get("Definition")
    parts = given if isinstance(given, list) else [given]
    texts = [part.strip() for part in parts if isinstance(part, str) and part.strip()]
    if not texts or len(texts) < len(parts):
        problems.append(Problem(document.file, None, "'Definition' must be a text, or a list of texts"))
        return None
    return " ".join(texts)


def _examples(document: JsonDocument, shots: Shots, problems: list[Problem]) -> str:
    given = document.value.get("Positive Examples", [])
    if not isinstance(given, list):
        fault = f"'Positive Examples' must be a list of objects, not {json_type(given)}"
        problems.append(Problem(document.file, None, fault))
        return ""
    texts: list[str] = []
    if not given[: shots.number]:
        return ""
    for record in records_in(document, ("Positive Examples",), given[: shots.number], problems):
        given, said = text_field(record, "input", problems), answers_field(record, ["output"], problems)
        if given is not None and said:
            number = str(len(texts) + 1)
            texts.append(filled(shots.template, {"number": number, "output": said[0], "input": given}))
    return "".join(texts)


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write a corpus in SAPT's layout; its tasks are numbers, its first training items the examples of a task."""
    shown: dict[str, list[Item]] = {}
    for split, name in NAMES.items():
        tasks: dict[str, list[Item]] = {}
        for item in corpus.splits[split]:
            tasks.setdefault(item.task, []).append(item)
        for task, items in tasks.items():
            if split == "train" and len(items) > NUM_SHOWN:
                shown[task], items = items[:NUM_SHOWN], items[NUM_SHOWN:]
            content = {
                "Definition": [items[0].fields["definition"]],
                "Positive Examples": [
                    {"input": item.fields["input"], "output": item.references[0], "explanation": ""}
                    for item in shown.get(task, ())
                ],
                "Instances": [
                    {"id": item.id, "input": item.fields["input"], "output": [*item.references]} for item in items
                ],
            }
            file = folder / f"task{int(task):03d}_generated" / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


LAYOUT: LabelledLayout = Layout(
    name="superni",
    license="Apache-2.0 (Super-NaturalInstructions)",
    how_to_get=(
        "Put the folder tasks of github.com/allenai/natural-instructions, or CL_Benchmark/SuperNI of "
        "github.com/circle-hit/SAPT, into {path}."
    ),
    read=read,
    write=write,
    hub=HUB,
)
