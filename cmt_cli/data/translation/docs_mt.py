"""Microsoft documentation in several languages and English, one pair after the other (CodeXGLUE, arXiv 2102.04664).

The files of microsoft/CodeXGLUE, folder Text-Text/text-to-text/data, one sentence on each line:

    train/da-en.train.da    Vælg knappen Gem .
    train/da-en.train.en    Choose the Save button .
    dev/da-en.dev.da, test/da-en.test.da, ...

Pairs are da-en, lv-en, no-en and zh-en; a task is a direction such as da-en or en-da. Splits are upstream's; a pair of
which one training file is missing has no task (`directions.missing_tasks`). C-UDA licence. Scored by BLEU; chance is
near 0.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from cmt_cli.core.stream import Stream
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import find
from cmt_cli.data.hub.hub_files import CONVERTED, HubFiles, HubSource, Tables
from cmt_cli.data.labelled.items import LabelledCorpus, SplitPolicy
from cmt_cli.data.labelled.labelled_files import Generator, LabelledLayout, clean_corpus, files_at
from cmt_cli.data.labelled.labelled_stream import Format, Limits, text_stream
from cmt_cli.data.translation.parallel import (
    Bitext,
    Directions,
    folder_of,
    read_bitexts,
    sides_of,
    write_lines,
    write_pair,
)

INNER = ("data", "Text-Text/text-to-text/data")
NAMES = {"train": "train", "validation": "dev", "test": "test"}
PAIRS = ("da-en", "lv-en", "no-en", "zh-en")


def docs_mt(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    on_bad_row: str,
    directions: Directions,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Generator,
) -> Stream:
    """Return the documentation pairs with a task for each direction."""
    read = partial(read_bitexts, find_bitexts=find_bitexts, directions=directions)
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


def find_bitexts(path: Path, problems: list[Problem]) -> list[Bitext]:
    """Return the complete pairs of files of each split; upstream lacks some sides."""
    folder = folder_of(path, INNER, "train/*-*.train.*", problems)
    if folder is None:
        return []
    bitexts = []
    for split, name in NAMES.items():
        for pair in sorted({file.name.split(".")[0] for file in (folder / name).glob(f"*-*.{name}.*")}):
            one, _, two = pair.partition("-")
            first, second = (find(folder / name, f"{pair}.{name}.{language}") for language in (one, two))
            if first is not None and second is not None:
                bitexts.append(Bitext(split, (one, two), (first, second)))
    return bitexts


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write a corpus in this layout."""
    for split, name in NAMES.items():
        written: set[str] = set()
        for direction, sides in sides_of(corpus, split).items():
            one, two = direction.split("-")
            if f"{two}-{one}" in written:  # the reverse of a pair holds the same sentences
                continue
            written.add(direction)
            write_lines(folder / name / f"{direction}.{name}.{one}", sides[0])
            write_lines(folder / name / f"{direction}.{name}.{two}", sides[1])


def _files(pair: str, name: str) -> list[str]:
    return [f"{name}/{pair}.{name}.{language}" for language in pair.split("-")]


def _write_tables(folder: Path, tables: Tables) -> None:
    for pair in PAIRS:
        for split, name in NAMES.items():
            rows = tables.rows(f"{pair} {split}")
            write_pair([folder / file for file in _files(pair, name)], ((row["source"], row["target"]) for row in rows))


HUB = HubFiles(
    (
        HubSource(
            dataset="google/code_x_glue_tt_text_to_text",
            revision=CONVERTED,
            tables={
                f"{pair} {split}": f"{pair.replace('-', '_')}/{split}/*.parquet" for pair in PAIRS for split in NAMES
            },
            columns={"source": str, "target": str},
            files=tuple(file for pair in PAIRS for name in NAMES.values() for file in _files(pair, name)),
            write=_write_tables,
        ),
    )
)
LAYOUT: LabelledLayout = Layout(
    name="docs_mt",
    license="C-UDA (Computational Use of Data Agreement)",
    how_to_get="Put Text-Text/text-to-text/data of github.com/microsoft/CodeXGLUE into {path}.",
    read=partial(read_bitexts, find_bitexts=find_bitexts),
    write=write,
    hub=HUB,
)
