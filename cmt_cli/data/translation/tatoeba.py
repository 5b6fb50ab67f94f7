"""Tatoeba: short sentences and their English translations, one language after the other (LASER's test sets).

The files of facebookresearch/LASER, folder data/tatoeba/v1, one sentence on each line:

    tatoeba.deu-eng.deu     Der Hund schläft schon.
    tatoeba.deu-eng.eng     The dog is already asleep.

Upstream names no splits (arXiv 1812.10464 uses the pairs for retrieval): `held_out` draws test rows, the same for both
directions of a pair. CC BY 2.0 FR. A task is a direction such as deu-eng. Scored by BLEU; chance is near 0.
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
from cmt_cli.data.labelled.held_out import HeldOut
from cmt_cli.data.labelled.items import SPLITS, LabelledCorpus, SplitPolicy
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

INNER = ("v1", "tatoeba/v1", "data/tatoeba/v1")
PAIRS = [f"{language}-eng" for language in "ara cmn deu fin fra hin ita jpn kor nld por rus spa swh tur vie".split()]


def tatoeba(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    on_bad_row: str,
    directions: Directions,
    held_out: HeldOut,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Generator,
) -> Stream:
    """Return the Tatoeba pairs with a task for each direction; `held_out` draws the test rows."""
    read = partial(read_bitexts, find_bitexts=find_bitexts, directions=directions, held_out=held_out)
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
    """Return the pair of files of every pair of languages."""
    folder = folder_of(path, INNER, "tatoeba.*-*.*", problems)
    if folder is None:
        return []
    names = sorted({file.name.split(".")[1] for file in folder.glob("tatoeba.*-*.*")})
    bitexts = []
    for name in names:
        one, _, two = name.partition("-")
        files = [find(folder, f"tatoeba.{name}.{language}") for language in (one, two)]
        if files[0] is None or files[1] is None:
            lacks = one if files[0] is None else two
            problems.append(Problem(folder, None, f"lacks tatoeba.{name}.{lacks}, the other side of its pair"))
        else:
            bitexts.append(Bitext("train", (one, two), (files[0], files[1])))
    return bitexts


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write a corpus in this layout, all splits into the same files."""
    lines: dict[str, list[str]] = {}
    for split in SPLITS:
        for direction, sides in sides_of(corpus, split).items():
            one, two = direction.split("-")
            name = f"{two}-{one}" if f"tatoeba.{two}-{one}.{one}" in lines else direction
            if name == direction:  # the reverse of a pair holds the same sentences
                lines.setdefault(f"tatoeba.{name}.{one}", []).extend(sides[0])
                lines.setdefault(f"tatoeba.{name}.{two}", []).extend(sides[1])
    for file, texts in lines.items():
        write_lines(folder / file, texts)


def _files(pair: str) -> list[str]:
    return [f"tatoeba.{pair}.{language}" for language in pair.split("-")]


def _write_tables(folder: Path, tables: Tables) -> None:
    for pair in PAIRS:
        rows = ((row["sentence1"], row["sentence2"]) for row in tables.rows(pair))
        write_pair([folder / file for file in _files(pair)], rows)


HUB = HubFiles(
    (
        HubSource(
            dataset="mteb/tatoeba-bitext-mining",
            revision=CONVERTED,
            tables={pair: f"{pair}/test/*.parquet" for pair in PAIRS},
            columns={"sentence1": str, "sentence2": str},
            files=tuple(file for pair in PAIRS for file in _files(pair)),
            write=_write_tables,
        ),
    )
)
LAYOUT: LabelledLayout = Layout(
    name="tatoeba",
    license="CC BY 2.0 FR",
    how_to_get="Put data/tatoeba/v1 of github.com/facebookresearch/LASER into {path}.",
    read=partial(read_bitexts, find_bitexts=find_bitexts),
    write=write,
    hub=HUB,
)
