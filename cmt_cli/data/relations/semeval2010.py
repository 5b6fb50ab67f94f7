"""SemEval-2010 task 8: semantic relations between nominals, a few at a time (Hendrickx et al. 2010, S10-1006).

The files of the task, `TRAIN_FILE.TXT` and `TEST_FILE_FULL.TXT`, in one folder or in those of the released archive;
records of a number and a sentence, its relation, a comment and an empty line:

    7   "The <e1>ladle</e1> of the <e2>cook</e2> was lost."
    Instrument-Agency(e1,e2)
    Comment: the cook uses the ladle

Class-incremental by directed relation: nine relations in two directions and Other, 19 classes, here in 5 tasks (our
choice; there is no established division). There is no validation split upstream, so one is carved from the training
rows. CC BY 3.0. Chance is 1 / (relations seen), 1/19 at the end; the largest class, Other, has 17 % of the rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from cmt_cli.core.exceptions import counted
from cmt_cli.core.stream import Stream
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.problems import Problem, name_row
from cmt_cli.data.files.reading import find, numbered_lines
from cmt_cli.data.hub.hub_files import MAIN, HubFiles, HubSource, Tables
from cmt_cli.data.hub.shapes import named
from cmt_cli.data.labelled.items import Item, LabelledCorpus, SplitPolicy, label_groups, labels_of
from cmt_cli.data.labelled.labelled_files import Generator, LabelledLayout, clean_corpus, files_at, read_splits
from cmt_cli.data.labelled.labelled_stream import Format, Limits, label_stream

FILE_OF_SPLIT = {"train": "TRAIN_FILE.TXT", "test": "TEST_FILE_FULL.TXT"}
KINDS = """
    Cause-Effect Component-Whole Content-Container Entity-Destination Entity-Origin Instrument-Agency Member-Collection
    Message-Topic Product-Producer
"""  # of relations, each in two directions
TASK = "nominals"
TAGS = {"head": "e1", "tail": "e2"}
_SENTENCE = re.compile(r'(\d+)\s+"?(.*?)"?')
_RELATION = re.compile(r"Other|[A-Z]\w*-[A-Z]\w*\((e1,e2|e2,e1)\)")
_TAG = re.compile(r"</?e[12]>")


@dataclass(slots=True)
class _Block:
    """The lines of a record that are not empty; `line` is the number of the first."""

    line: int = 0
    lines: list[str] = field(default_factory=list)
    is_faulty: bool = False


def semeval2010(
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
    """Return SemEval-2010 task 8 with tasks of a few directed relations each.

    `labels_per_task` of None divides all relations evenly; `order_seed` shuffles them, None keeps the order of the
    files.
    """
    files = files_at(path, default_path, source, auto_may_generate, cache, on_bad_row)
    corpus, provenance = clean_corpus(LAYOUT, files, generated, split_policy, format)
    labels = labels_of(corpus.splits["train"])
    groups = label_groups(labels, num_tasks=num_tasks, labels_per_task=labels_per_task, seed=order_seed)
    return label_stream(corpus, provenance, groups=groups, limits=limits, format=format)


def read(path: Path) -> tuple[LabelledCorpus, list[Problem]]:
    """Read the two files of a folder or of the folders in it."""
    return read_splits(path, FILE_OF_SPLIT, _located, _items)


def _located(folder: Path, name: str) -> Path | None:
    folders = [folder, *sorted(inner for inner in folder.rglob("*") if inner.is_dir())]
    return next((found for inner in folders if (found := find(inner, name))), None)


def _items(file: Path, split: str, known: Set[str] | None, problems: list[Problem]) -> list[Item]:
    start, items = len(problems), []
    blocks = list(_blocks(file, problems))
    for block in blocks:
        if block.is_faulty:
            continue
        if fault := _fault(block.lines, known):
            problems.append(Problem(file, block.line, fault))
        else:
            items.append(_item(block.lines, split))
    if len(blocks) > 1 and len(blocks[-1].lines) == 2 and all(len(block.lines) > 2 for block in blocks[:-1]):
        fault = "the file ends within this record: it has no comment, as all others have; get the whole file"
        problems.append(Problem(file, blocks[-1].line, fault, ends_file=True))
    if not items and len(problems) == start:
        problems.append(Problem(file, None, "is empty"))
    return items


def _blocks(file: Path, problems: list[Problem]) -> Iterator[_Block]:
    """Yield the records: runs of lines that are not empty."""
    block, start = _Block(), len(problems)
    for number, line, is_faulty in numbered_lines(file, problems, at_cut="refuse"):
        if line.strip():
            block.line = block.line or number
            block.lines.append(line.strip())
            block.is_faulty |= is_faulty
        elif block.lines:
            name_row(problems, start, f"line {block.line}")
            yield block
            block, start = _Block(), len(problems)
    if block.lines:
        name_row(problems, start, f"line {block.line}")
        yield block


def _fault(lines: Sequence[str], known: Set[str] | None) -> str | None:
    """Return what is wrong with a record, or None."""
    if len(lines) > 3 or (len(lines) == 3 and not lines[2].startswith("Comment")):
        return (
            f"must be a sentence, a relation and a comment, not {counted(len(lines), 'line')}; an empty line ends "
            "a record"
        )
    sentence = _SENTENCE.fullmatch(lines[0])
    if sentence is None:
        return 'must begin with a number and a sentence: 7<tab>"The <e1>ladle</e1> ..."'
    for tag in TAGS.values():
        if not _mention(sentence[2], tag):
            return f"the sentence must mark one mention with <{tag}> and </{tag}>"
    if len(lines) < 2:
        return "the relation is missing; rows without one cannot be learned or evaluated"
    if not _RELATION.fullmatch(lines[1]):
        return f"'{lines[1][:40]}' is no relation; give Other or one like Cause-Effect(e1,e2)"
    if known is not None and lines[1] not in known:
        return f"the relation '{lines[1]}' has no training rows"
    return None


def _mention(sentence: str, tag: str) -> str:
    """Return the one text between a tag and its end, empty where there is none or more than one."""
    marked = re.findall(f"<{tag}>(.*?)</{tag}>", sentence)
    return _plain(marked[0]) if len(marked) == sentence.count(f"<{tag}>") == 1 else ""


def _plain(text: str) -> str:
    return " ".join(_TAG.sub("", text).split())


def _item(lines: Sequence[str], split: str) -> Item:
    sentence = _SENTENCE.fullmatch(lines[0])
    assert sentence is not None  # the record has no fault
    mentions = {name: _mention(sentence[2], tag) for name, tag in TAGS.items()}
    label = lines[1]
    return Item(f"{split}-{sentence[1]}", TASK, {"text": _plain(sentence[2]), **mentions}, (label,), (label,))


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write the training and test rows of a corpus in this layout, which has no validation file."""
    number = 0
    for split, file_name in FILE_OF_SPLIT.items():
        records = []
        for item in corpus.splits[split]:
            number += 1
            text = item.fields["text"]
            for name, tag in TAGS.items():
                text = text.replace(item.fields[name], f"<{tag}>{item.fields[name]}</{tag}>", 1)
            records.append(f'{number}\t"{text}"\n{_relation(item.labels[0])}\nComment:\n\n')
        (folder / file_name).write_text("".join(records), encoding="utf-8")


def _relation(label: str) -> str:
    """Return a generated relation as one of this layout: "pet of" is Person-Pet(e2,e1), the pet being e1."""
    noun = label.removesuffix(" of")
    return f"Person-{noun.title().replace(' ', '')}({'e1,e2' if noun == label else 'e2,e1'})"


def _write_tables(folder: Path, tables: Tables) -> None:
    """Write the two files; the hub has the records in their order, without their numbers and comments."""
    numbers = count(1)
    for split, name in FILE_OF_SPLIT.items():
        with (folder / name).open("w", encoding="utf-8", newline="\n") as stream:
            for row, number in zip(tables.rows(split), numbers, strict=False):
                stream.write(f'{number}\t"{row["sentence"]}"\n{row["relation"]}\nComment:\n\n')


HUB = HubFiles(
    (
        HubSource(
            dataset="SemEvalWorkshop/sem_eval_2010_task_8",
            revision=MAIN,
            tables={split: f"data/{split}-*.parquet" for split in FILE_OF_SPLIT},
            columns={
                "sentence": str,
                "relation": named("Other", *(f"{kind}({way})" for kind in KINDS.split() for way in ("e1,e2", "e2,e1"))),
            },
            files=tuple(FILE_OF_SPLIT.values()),
            write=_write_tables,
        ),
    )
)
LAYOUT: LabelledLayout = Layout(
    name="semeval2010",
    license="CC BY 3.0",
    how_to_get="Put TRAIN_FILE.TXT and TEST_FILE_FULL.TXT of SemEval2010_task8_all_data.tar.gz "
    "(github.com/davidsbatista/Annotated-Semantic-Relationships-Datasets, folder datasets), or the archive itself, "
    "at {path}.",
    read=read,
    write=write,
    hub=HUB,
)
