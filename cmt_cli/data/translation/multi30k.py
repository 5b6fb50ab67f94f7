"""Multi30k: captions of pictures in several languages, one pair of languages after the other (arXiv 1605.00459).

The files of multi30k/dataset, folder data/task1/raw, gzipped or not, one sentence on each line, the same in each file:

    train.en        A boy feeds two goats .
    train.de        Ein Junge füttert zwei Ziegen .
    val.en, val.de, test_2016_flickr.en, test_2016_flickr.de, ...

A task is a direction such as en-de; `test_set` names the test files. Splits are upstream's. The repository states no
licence (captions of Flickr30k, for research). Scored by BLEU over a task's test set; chance is near 0.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path

from cmt_cli.core.stream import Stream
from cmt_cli.data.files.origin import Layout, is_generated
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import find
from cmt_cli.data.hub.hub_files import MAIN, HubFiles, HubSource, Tables
from cmt_cli.data.labelled.items import LabelledCorpus, SplitPolicy
from cmt_cli.data.labelled.labelled_files import Generator, LabelledLayout, clean_corpus, files_at
from cmt_cli.data.labelled.labelled_stream import Format, Limits, text_stream
from cmt_cli.data.translation.parallel import (
    Bitext,
    Directions,
    folder_of,
    language_of,
    read_bitexts,
    sides_of,
    write_lines,
    write_pair,
)

INNER = ("data/task1/raw", "task1/raw", "raw")
TEST_SET = "test_2016_flickr"
STEMS = {"train": "train", "validation": "val", "test": TEST_SET}
HUB_PAIR = ("en", "de")  # the one that the hub has in a loadable form


def multi30k(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    on_bad_row: str,
    test_set: str,
    directions: Directions,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Generator,
) -> Stream:
    """Return Multi30k with a task for each direction; `test_set` is what the names of the test files begin with."""
    read = partial(read_bitexts, find_bitexts=partial(find_bitexts, test_set=test_set), directions=directions)
    files = files_at(path, default_path, source, auto_may_generate, cache, on_bad_row)
    corpus, provenance = clean_corpus(replace(LAYOUT, read=read), files, generated, split_policy, format)
    return text_stream(
        corpus,
        provenance,
        order=directions.order,
        missing_tasks=directions.missing_tasks,
        limits=limits,
        format=format,
    )


def find_bitexts(path: Path, problems: list[Problem], test_set: str = TEST_SET) -> list[Bitext]:
    """Return every pair of languages of each split."""
    folder = folder_of(path, INNER, "train.*", problems)
    if folder is None:
        return []
    languages = sorted({language_of(file) for file in folder.glob("train.*") if file.is_file()})
    test_set = TEST_SET if is_generated(folder) else test_set
    stems = {**STEMS, "test": test_set}
    found = {
        (split, language): file
        for split, stem in stems.items()
        for language in languages
        if (file := find(folder, f"{stem}.{language}")) is not None
    }
    if not any(split == "test" for split, _ in found):
        problems.append(Problem(folder, None, f"holds no files {test_set}.LANGUAGE; data.test_set names them"))
    return [
        Bitext(split, (one, two), (found[split, one], found[split, two]))
        for split in stems
        for one, two in combinations(languages, 2)
        if (split, one) in found and (split, two) in found
    ]


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write a corpus in this layout; its directions translate the same sentences."""
    for split, stem in STEMS.items():
        for direction, sides in sides_of(corpus, split).items():
            for language, lines in zip(direction.split("-"), sides, strict=True):
                write_lines(folder / f"{stem}.{language}", lines)


def _write_tables(folder: Path, tables: Tables) -> None:
    one, two = HUB_PAIR
    for split, stem in STEMS.items():
        files = [folder / f"{stem}.{language}" for language in HUB_PAIR]
        write_pair(files, ((row[one], row[two]) for row in tables.rows(split)))


HUB = HubFiles(
    (
        HubSource(
            dataset="bentrevett/multi30k",
            revision=MAIN,
            tables={"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"},
            columns=dict.fromkeys(HUB_PAIR, str),
            files=tuple(f"{stem}.{language}" for stem in STEMS.values() for language in HUB_PAIR),
            write=_write_tables,
        ),
    ),
    settings=("data.directions.order=[en-de]",),
)
LAYOUT: LabelledLayout = Layout(
    name="multi30k",
    license="none stated (captions of Flickr30k, research use)",
    how_to_get="Put data/task1/raw of github.com/multi30k/dataset into {path}.",
    read=partial(read_bitexts, find_bitexts=find_bitexts),
    write=write,
    hub=HUB,
)
