r"""CrossNER: entities of one domain after the other, each with types of its own (Liu et al. 2021, arXiv 2012.04373).

The files of zliucr/CrossNER, `ner_data/DOMAIN/{train,dev,test}.txt`, a token and its BIO tag on each line:

    Moor        B-politician
    joined      O
    the         O
    Lamp        B-politicalparty
    Party       I-politicalparty

Domain-incremental: politics, science, music, literature, ai. Types of several domains (person, location) are evaluated
in each. Any folder of such folders is read, other names of domains in `order` too: with IOB1, BIO, BIOES or IO tags,
any columns between token and tag, or span json (train.jsonl, see span_json.py). MIT licence. Chance is about 0: no
entity is found by guessing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cmt_cli.core.stream import Stream
from cmt_cli.data.entities.entity_stream import NEEDED, domain_items, domain_stream, first_of, read_sentences, tagged
from cmt_cli.data.files.conll import write_columns
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.hub.hub_files import CONVERTED, HubFiles, HubSource, Tables
from cmt_cli.data.hub.shapes import named
from cmt_cli.data.labelled.items import LabelledCorpus, SplitPolicy, Splits
from cmt_cli.data.labelled.labelled_files import Generator, LabelledLayout, clean_corpus, files_at
from cmt_cli.data.labelled.labelled_stream import Format, Limits

DOMAINS = ("politics", "science", "music", "literature", "ai")
TYPES = """
    academicjournal album algorithm astronomicalobject award band book chemicalcompound chemicalelement conference
    country discipline election enzyme event field literarygenre location magazine metrics misc musicalartist
    musicalinstrument musicgenre organisation person poem politicalparty politician product programlang protein
    researcher scientist song task theory university writer
"""  # of entities, in all domains
FOLDER = "ner_data"
ENDINGS = ("txt", "conll", "jsonl", "json")
STEMS = {"train": ("train",), "validation": ("dev", "valid", "validation", "val"), "test": ("test",)}
NAMES = {split: [f"{stem}.{end}" for stem in stems for end in ENDINGS] for split, stems in STEMS.items()}


def crossner(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    on_bad_row: str,
    order: Sequence[str],
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Generator,
) -> Stream:
    """Return CrossNER with a task for each domain of `order`."""
    files = files_at(path, default_path, source, auto_may_generate, cache, on_bad_row)
    corpus, provenance = clean_corpus(LAYOUT, files, generated, split_policy, format)
    return domain_stream(corpus, provenance, order=order, limits=limits, format=format)


def read(path: Path) -> tuple[LabelledCorpus, list[Problem]]:
    """Read a folder of domains, or the folder that holds it as `ner_data`."""
    problems: list[Problem] = []
    splits: Splits = {split: [] for split in STEMS}
    files: list[Path] = []
    if not path.is_dir():
        problems.append(Problem(path, None, "must be a folder with a folder for each domain"))
        return LabelledCorpus(splits, ()), problems
    root = path / FOLDER if (path / FOLDER).is_dir() else path
    for folder in sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        found = {split: first_of(folder, names) for split, names in NAMES.items()}
        if not any(found.values()):
            continue
        files += filter(None, found.values())
        for split, items in domain_items(folder.name, found, read_sentences, problems).items():
            splits[split] += items
        lacking = (split for split in NEEDED if found[split] is None)
        problems += [Problem(folder, None, f"holds no {NAMES[split][0]}") for split in lacking]
    if not files:
        problems.append(Problem(root, None, f"holds no folder of a domain with a {NAMES['train'][0]}"))
    return LabelledCorpus(splits, tuple(files)), problems


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write a corpus in this layout, its tasks as the domains."""
    tasks = dict.fromkeys(item.task for item in corpus.splits["train"])
    for domain, task in zip(DOMAINS, tasks, strict=True):
        for split, stems in STEMS.items():
            items = (item for item in corpus.splits[split] if item.task == task)
            sentences = (tagged(item, str.lower) for item in items)
            write_columns(folder / FOLDER / domain / f"{stems[0]}.txt", sentences)


def _write_tables(folder: Path, tables: Tables) -> None:
    for domain in DOMAINS:
        for split, stems in STEMS.items():
            sentences = ((row["tokens"], row["ner_tags"]) for row in tables.rows(f"{domain} {split}"))
            write_columns(folder / FOLDER / domain / f"{stems[0]}.txt", sentences)


HUB = HubFiles(
    (
        HubSource(
            dataset="DFKI-SLT/cross_ner",
            revision=CONVERTED,
            tables={f"{domain} {split}": f"{domain}/{split}/*.parquet" for domain in DOMAINS for split in STEMS},
            columns={
                "tokens": [str],
                "ner_tags": [named("O", *(f"{begin}-{kind}" for begin in "BI" for kind in TYPES.split()))],
            },
            files=tuple(f"{FOLDER}/{domain}/{stems[0]}.txt" for domain in DOMAINS for stems in STEMS.values()),
            write=_write_tables,
        ),
    )
)
LAYOUT: LabelledLayout = Layout(
    name="crossner",
    license="MIT",
    how_to_get="Put the folder ner_data of github.com/zliucr/CrossNER into {path}.",
    read=read,
    write=write,
    hub=HUB,
)
