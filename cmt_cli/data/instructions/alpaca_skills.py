"""Alpaca's instructions grouped into skills that arrive one by one (Taori et al. 2023, tatsu-lab/stanford_alpaca).

The file alpaca_data.json:

    [{"instruction": "Sort these words.", "input": "pear, fig", "output": "fig, pear"}, ...]

The grouping rule: an instruction belongs to the skill whose name its first word is, whatever its case, or among whose
words it is; the words are in the configuration. Instructions of no skill are not used (the note counts them). Upstream
names no splits, so `held_out` draws test rows. CC BY-NC 4.0. Published files hold some rows with an empty output,
faulty here. Scored by ROUGE-L; chance is near 0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.stream import Stream
from cmt_cli.data.files.fields import optional_text_field, text_field
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import find
from cmt_cli.data.hub.hub_files import HubFiles, HubSource, Tables
from cmt_cli.data.instructions.instruction_files import records_of
from cmt_cli.data.instructions.world_instructions import Instructions
from cmt_cli.data.labelled.held_out import HeldOut
from cmt_cli.data.labelled.items import SPLITS, Item, LabelledCorpus, SplitPolicy
from cmt_cli.data.labelled.labelled_files import LabelledLayout, clean_corpus, files_at
from cmt_cli.data.labelled.labelled_stream import Format, Limits, text_stream

FILE = "alpaca_data.json"
COLUMNS = ("instruction", "input", "output")
NO_SKILL = "none"

Skills = Mapping[str, Sequence[str]]


def alpaca_skills(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    on_bad_row: str,
    order: Sequence[str],
    missing_tasks: str,
    skills: Skills,
    held_out: HeldOut,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Instructions,
) -> Stream:
    """Return the skills of `order`; `skills` lists the first words of the instructions of each."""
    _check(skills)
    files = files_at(path, default_path, source, auto_may_generate, cache, on_bad_row)
    layout = replace(LAYOUT, read=partial(read, skills=skills, held_out=held_out))
    corpus, provenance = clean_corpus(layout, files, generated, split_policy, format)
    return text_stream(corpus, provenance, order=order, missing_tasks=missing_tasks, limits=limits, format=format)


def _check(skills: Skills) -> None:
    first: dict[str, str] = {}
    for skill, words in skills.items():
        for word in (skill, *words):
            if first.setdefault(word, skill) != skill or word != word.lower():
                raise UserError(
                    f"data.skills: the word '{word}' of '{skill}' must be in lower case and belong to one skill only."
                )


def read(
    path: Path, skills: Skills | None = None, held_out: HeldOut | None = None
) -> tuple[LabelledCorpus, list[Problem]]:
    """Read the file, or the folder that holds it."""
    problems: list[Problem] = []
    file = path if path.is_file() else find(path, FILE)
    if file is None:
        problems.append(Problem(path, None, f"holds no {FILE}"))
        return LabelledCorpus({}, ()), problems
    skill_of = {word: skill for skill, words in (skills or {}).items() for word in (skill, *words)}
    tasks: dict[str, list[Item]] = {}
    for index, record in enumerate(records_of(file, problems)):
        instruction, output = (text_field(record, name, problems) for name in ("instruction", "output"))
        given = optional_text_field(record, "input", problems) or ""
        if instruction is not None and output is not None:
            task = skill_of.get(first_word(instruction), NO_SKILL)
            fields = {"instruction": instruction, "input": given}
            tasks.setdefault(task, []).append(Item(f"alpaca-{index:05d}", task, fields, (output,)))
    unused = len(tasks.pop(NO_SKILL, ())) if skills is not None else 0
    splits: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for task, items in tasks.items():
        drawn = held_out.drawn(task, len(items)) if held_out is not None else frozenset()
        for position, item in enumerate(items):
            splits["test" if position in drawn else "train"].append(item)
    notes = (f"{counted(unused, 'instruction')} of no skill not used",) if unused else ()
    return LabelledCorpus(splits, (file,), notes), problems


def first_word(instruction: str) -> str:
    """Return the first run of letters of an instruction, in lower case."""
    match = re.search(r"[^\W\d_]+", instruction)
    return match[0].lower() if match else ""


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write a corpus in this layout; an instruction begins with the name of its skill."""
    rows = [
        {
            "instruction": f"{item.task.capitalize()}: {item.fields['definition']}",
            "input": item.fields["input"],
            "output": item.references[0],
        }
        for split in SPLITS
        for item in corpus.splits[split]
    ]
    (folder / FILE).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _write_tables(folder: Path, tables: Tables) -> None:
    rows = [{name: row[name] for name in COLUMNS} for row in tables.rows("train")]
    (folder / FILE).write_text(json.dumps(rows, indent=4, ensure_ascii=False), encoding="utf-8")


HUB = HubFiles(
    (
        HubSource(
            dataset="tatsu-lab/alpaca",
            revision="dce01c9b08f87459cf36a430d809084718273017",
            tables={"train": "data/train-*.parquet"},
            columns=dict.fromkeys(COLUMNS, str),
            files=(FILE,),
            write=_write_tables,
        ),
    )
)
LAYOUT: LabelledLayout = Layout(
    name="alpaca_skills",
    license="CC BY-NC 4.0",
    how_to_get="Put alpaca_data.json of github.com/tatsu-lab/stanford_alpaca into {path}.",
    read=read,
    write=write,
    hub=HUB,
)
