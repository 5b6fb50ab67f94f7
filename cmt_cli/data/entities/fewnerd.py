r"""Few-NERD: 66 fine types of entities, six new ones in each task (Ding et al. 2021, ACL, arXiv 2105.07464).

The supervised files of thunlp/Few-NERD, `train.txt`, `dev.txt` and `test.txt`: on each line a token, a tab and its tag,
which is `O` or coarse-fine without B- or I-; a blank line after each sentence:

    Moor        person-artist/author
    wrote       O
    Tin         art-writtenart
    Lamps       art-writtenart

Class-incremental: 11 tasks of 6 types in an order drawn by `order_seed` (the survey authors' order is another draw).
Old and future types read as no entity, see entities.py. Any such files are read: with IOB1, BIO or BIOES tags, any
columns between token and tag, or span json (train.jsonl). CC BY-SA 4.0. Chance is about 0: no entity is found by
guessing.
"""

from __future__ import annotations

from pathlib import Path

from cmt_cli.core.stream import Stream
from cmt_cli.data.entities.crossner import NAMES, STEMS
from cmt_cli.data.entities.entity_stream import NEEDED, first_of, item_of, read_sentences, tagged, type_stream, types_of
from cmt_cli.data.files.conll import write_columns
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.hub.hub_files import HubFiles, HubSource, Tables
from cmt_cli.data.hub.shapes import Labels
from cmt_cli.data.labelled.items import LabelledCorpus, SplitPolicy, Splits, label_groups
from cmt_cli.data.labelled.labelled_files import Generator, LabelledLayout, clean_corpus, files_at
from cmt_cli.data.labelled.labelled_stream import Format, Limits
from cmt_cli.data.world.entities import THEME_OF

FOLDER = "supervised"


def fewnerd(
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
    sentences_once: bool,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Generator,
) -> Stream:
    """Return Few-NERD with tasks of a few types each, in an order drawn by `order_seed`, None for the alphabet's.

    With `sentences_once` a training sentence is in one task, otherwise in every task whose types it has.
    """
    files = files_at(path, default_path, source, auto_may_generate, cache, on_bad_row)
    corpus, provenance = clean_corpus(LAYOUT, files, generated, split_policy, format)
    types = types_of(corpus.splits["train"])
    groups = label_groups(types, num_tasks=num_tasks, labels_per_task=labels_per_task, seed=order_seed)
    return type_stream(corpus, provenance, groups=groups, once=sentences_once, limits=limits, format=format)


def read(path: Path) -> tuple[LabelledCorpus, list[Problem]]:
    """Read the folder of the released files, or the folder that holds it as `supervised`."""
    problems: list[Problem] = []
    splits: Splits = {}
    files: list[Path] = []
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    for split, names in NAMES.items():
        file = first_of(folder, names)
        sentences = [] if file is None else read_sentences(file, problems)
        files += [] if file is None else [file]
        if file is None and split in NEEDED:
            problems.append(Problem(folder, None, f"holds no {names[0]}"))
        splits[split] = [item_of(sentence, f"{split}-{index:06d}", "") for index, sentence in enumerate(sentences)]
    return LabelledCorpus(splits, tuple(files)), problems


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write a generated corpus in this layout, its themes as the coarse types."""
    for split, stems in STEMS.items():
        sentences = (tagged(item, lambda kind: f"{THEME_OF[kind]}-{kind}") for item in corpus.splits[split])
        without_prefix = ((tokens, [tag[2:] or tag for tag in tags]) for tokens, tags in sentences)
        write_columns(folder / f"{stems[0]}.txt", without_prefix)


def _write_tables(folder: Path, tables: Tables) -> None:
    for split, stems in STEMS.items():
        write_columns(folder / f"{stems[0]}.txt", ((row["tokens"], row["fine_ner_tags"]) for row in tables.rows(split)))


HUB = HubFiles(
    (
        HubSource(
            dataset="DFKI-SLT/few-nerd",
            revision="205f3e9c9f3577ea2561d43f2f62dc249ab92d5b",
            tables={split: f"supervised/{split}-*.parquet" for split in STEMS},
            columns={"tokens": [str], "fine_ner_tags": [Labels(67)]},
            files=tuple(f"{stems[0]}.txt" for stems in STEMS.values()),
            write=_write_tables,
        ),
    )
)
LAYOUT: LabelledLayout = Layout(
    name="fewnerd",
    license="CC BY-SA 4.0",
    how_to_get=(
        "Put train.txt, dev.txt and test.txt of Few-NERD (SUP) into {path}; `bash data/download.sh supervised` of "
        "github.com/thunlp/Few-NERD fetches them."
    ),
    read=read,
    write=write,
    hub=HUB,
)
