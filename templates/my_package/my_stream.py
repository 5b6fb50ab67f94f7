"""A labelled stream from a folder of tab-separated files: one file is one task, one line is a text and its label.

The lines of a file whose number is divisible by `test_every` are its test set, the others are trained on. Labels are
class-incremental: after a task the labels of all tasks so far compete.
"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Episodes, Example, Provenance, Stream, Task, TestSet


def my_stream(*, path: str, test_every: int, template: str) -> Stream:
    """Return the stream of the files in `path`, in the order of their names.

    Raises UserError for a folder without such files, and for a line that is not a text and a label.
    """
    files = sorted(Path(path).glob("*.tsv"))
    if not files:
        raise UserError(f"data.path={path} holds no .tsv files. Each task is one: a text, a tab and a label per line.")
    rows = {file.stem: read(file) for file in files}
    labels = tuple(tuple(dict.fromkeys(label for _, label in pairs)) for pairs in rows.values())
    tasks, tests = [], []
    for index, (name, pairs) in enumerate(rows.items()):
        choices = tuple(f" {label}" for label in labels[index])
        examples = [
            Example(
                id=f"{name}-{number}",
                prompt=template.format(text=text),
                target=f" {label}",  # the leading space belongs to the target
                references=(label,),
                choices=choices,
            )
            for number, (text, label) in enumerate(pairs, start=1)
        ]
        train = [example for number, example in enumerate(examples, start=1) if number % test_every]
        test = [example for number, example in enumerate(examples, start=1) if number % test_every == 0]
        tasks.append(Task(name, index, train))
        tests.append(TestSet(name, test, metric="accuracy", learned_at=index, labels_by_task=labels))
    hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return Stream("my_stream", tasks, tests, Episodes(), Provenance("my_stream", "real", "not stated", hashes))


def read(file: Path) -> list[tuple[str, str]]:
    """Return the texts and labels of one file."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines, delimiter="\t"))
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            raise UserError(f"{file}:{number}: {len(row)} fields, but a line is a text, a tab and a label.")
    return [(text, label) for text, label in rows]
