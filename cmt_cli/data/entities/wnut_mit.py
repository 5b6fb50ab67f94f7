r"""WNUT17 and MIT's movies and restaurants: entities of three domains with types that hardly overlap.

Domain-incremental. `wnut17`, social media (Derczynski et al. 2017, ACL W17-4418), the files of
leondz/emerging_entities_17 with a token and its BIO tag on each line, CC BY 4.0. `movie` and `restaurant`, spoken
requests (Liu et al. 2013, MIT SLS, no licence stated, free for research), in the layout of slot-filling repositories
(sz128/slot_filling_and_intent_detection_of_SLU), which have no validation split; one is carved from training:

    wnut17/{wnut17train.conll,emerging.dev.conll,emerging.test.annotated}
    mit_corpus/{movie_eng,restaurant,movie_trivia10k13}/{train,test}

    Moor        B-person          find:O a:O film:O by:O ada:B-DIRECTOR moor:I-DIRECTOR <=> <NULL>
    sang        O

`trivia`, MIT's second movie corpus, has types of its own (Actor, Plot, Character_Name) and is no task by default.
Most sentences of WNUT17 hold no entity; their answer is `none`. Chance is about 0: no entity is found by guessing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cmt_cli.core.stream import Stream
from cmt_cli.data.entities.entity_stream import NEEDED, Read, domain_items, domain_stream, tagged
from cmt_cli.data.files.conll import read_columns, read_token_lines, write_columns, write_token_lines
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import find
from cmt_cli.data.hub.hub_files import MAIN, HubFiles, HubSource, Tables
from cmt_cli.data.hub.shapes import Labels, named
from cmt_cli.data.labelled.items import LabelledCorpus, SplitPolicy, Splits
from cmt_cli.data.labelled.labelled_files import Generator, LabelledLayout, clean_corpus, files_at
from cmt_cli.data.labelled.labelled_stream import Format, Limits

Write = Callable[[Path, Iterable[tuple[Sequence[str], Sequence[str]]]], None]


@dataclass(frozen=True, slots=True)
class Domain:
    """The files of a domain: their names by split, how they are read and written, and how its types are spelled."""

    files: dict[str, str]
    read: Read
    write: Write
    spelled: Callable[[str], str]


DOMAINS = {
    "wnut17": Domain(
        {
            "train": "wnut17/wnut17train.conll",
            "validation": "wnut17/emerging.dev.conll",
            "test": "wnut17/emerging.test.annotated",
        },
        read_columns,
        write_columns,
        str.lower,
    ),
    "movie": Domain(
        {
            "train": "mit_corpus/movie_eng/train",
            "validation": "mit_corpus/movie_eng/valid",
            "test": "mit_corpus/movie_eng/test",
        },
        read_token_lines,
        write_token_lines,
        str.upper,
    ),
    "restaurant": Domain(
        {
            "train": "mit_corpus/restaurant/train",
            "validation": "mit_corpus/restaurant/valid",
            "test": "mit_corpus/restaurant/test",
        },
        read_token_lines,
        write_token_lines,
        str.title,
    ),
    "trivia": Domain(
        {
            "train": "mit_corpus/movie_trivia10k13/train",
            "validation": "mit_corpus/movie_trivia10k13/valid",
            "test": "mit_corpus/movie_trivia10k13/test",
        },
        read_token_lines,
        write_token_lines,
        str.title,
    ),
}
DEFAULT = ("wnut17", "movie", "restaurant")  # the tasks of the stand-in


def wnut_mit(
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
    """Return a task for each domain of `order`: wnut17, movie, restaurant, trivia."""
    files = files_at(path, default_path, source, auto_may_generate, cache, on_bad_row)
    corpus, provenance = clean_corpus(LAYOUT, files, generated, split_policy, format)
    return domain_stream(corpus, provenance, order=order, limits=limits, format=format)


def read(path: Path) -> tuple[LabelledCorpus, list[Problem]]:
    """Read the folder that holds `wnut17` and `mit_corpus`; a domain without any file is left out."""
    problems: list[Problem] = []
    splits: Splits = {split: [] for split in ("train", "validation", "test")}
    files: list[Path] = []
    for name, domain in DOMAINS.items():
        found = {split: find(path, file) for split, file in domain.files.items()}
        if not any(found.values()):
            continue
        files += filter(None, found.values())
        for split, items in domain_items(name, found, domain.read, problems).items():
            splits[split] += items
        lacking = (split for split in NEEDED if found[split] is None)
        problems += [Problem(path / domain.files[split], None, "is missing") for split in lacking]
    if not files:
        names = ", ".join(domain.files["train"] for domain in DOMAINS.values())
        problems.append(Problem(path, None, f"holds none of {names}"))
    return LabelledCorpus(splits, tuple(files)), problems


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write a corpus in this layout, its first three tasks as the default domains, MIT's without a validation file."""
    tasks = dict.fromkeys(item.task for item in corpus.splits["train"])
    for name, task in zip(DEFAULT, tasks, strict=False):
        domain = DOMAINS[name]
        for split, file in domain.files.items():
            if split == "validation" and name != "wnut17":
                continue
            items = [item for item in corpus.splits[split] if item.task == task]
            domain.write(folder / file, [tagged(item, domain.spelled) for item in items])


def _write_wnut17(folder: Path, tables: Tables) -> None:
    for split, file in DOMAINS["wnut17"].files.items():
        write_columns(folder / file, ((row["tokens"], row["ner_tags"]) for row in tables.rows(split)))


def _write_mit(folder: Path, tables: Tables, *, domain: str) -> None:
    for split, file in DOMAINS[domain].files.items():
        write_token_lines(folder / file, ((row["tokens"], row["tags"]) for row in tables.rows(split)))


def _mit_source(dataset: str, domain: str, types: str) -> HubSource:
    return HubSource(
        dataset=dataset,
        revision=MAIN,
        tables={"train": "dataset/train.json", "validation": "dataset/valid*.json", "test": "dataset/test.json"},
        columns={"tokens": [str], "tags": [_tags_of(types)]},
        label_files={"tags": "dataset/label.json"},
        files=tuple(DOMAINS[domain].files.values()),
        write=partial(_write_mit, domain=domain),
    )


def _tags_of(types: str) -> Labels:
    return named("O", *(f"{begin}-{kind}" for begin in "BI" for kind in types.split()))


HUB = HubFiles(
    (
        HubSource(
            dataset="leondz/wnut_17",
            revision="1ac0b6d18c8a1a1d1606b24bef78b8af2f92d2d9",  # of the hub's own conversion
            tables={split: f"wnut_17/{split}/*.parquet" for split in ("train", "validation", "test")},
            columns={
                "tokens": [str],
                "ner_tags": [_tags_of("corporation creative-work group location person product")],
            },
            files=tuple(DOMAINS["wnut17"].files.values()),
            write=_write_wnut17,
        ),
        _mit_source(
            "tner/mit_restaurant", "restaurant", "Amenity Cuisine Dish Hours Location Price Rating Restaurant_Name"
        ),
        _mit_source(
            "tner/mit_movie_trivia",
            "trivia",
            "Actor Award Character_Name Director Genre Opinion Origin Plot Quote Relationship Soundtrack Year",
        ),
    ),
    settings=("data.order=[wnut17,restaurant,trivia]",),  # MIT's first movie corpus is not there
)
LAYOUT: LabelledLayout = Layout(
    name="wnut_mit",
    license="WNUT17 CC BY 4.0; MIT movie and restaurant: none stated, free for research",
    how_to_get=(
        "Put the .conll and .annotated files of github.com/leondz/emerging_entities_17 into {path}/wnut17 and "
        "data/MIT_corpus/{movie_eng,restaurant,movie_trivia10k13} of "
        "github.com/sz128/slot_filling_and_intent_detection_of_SLU into {path}/mit_corpus."
    ),
    read=read,
    write=write,
    hub=HUB,
)
