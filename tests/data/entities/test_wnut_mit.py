"""WNUT17 and MIT's corpora: hand-made files, every fault, the stand-in through the same readers, the real files."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cmt_cli.core.stream import Stream
from cmt_cli.data.entities.entity_stream import entities_of
from cmt_cli.data.entities.wnut_mit import DEFAULT, DOMAINS, read, wnut_mit
from cmt_cli.data.labelled.items import SplitPolicy
from cmt_cli.data.labelled.labelled_stream import Format
from cmt_cli.data.world.entities import Entities
from tests.data.labelled_settings import settings
from tests.data.written_files import faults

SMALL = Entities(num_train=30, num_validation=4, num_test=5, mixed_share=0.3, seed=0)
MADE = {
    "wnut17/wnut17train.conll": "Moor\tB-person\nsang\tO\n\nhi\tO\n\n",
    "wnut17/emerging.dev.conll": "lo\tO\n\n",
    "wnut17/emerging.test.annotated": "Dale\tB-person\n\n",
    "mit_corpus/restaurant/train": "a:O tart:B-Dish in:O old:B-Restaurant_Name inn:I-Restaurant_Name <=> <NULL>\n"
    + "any:O pie:B-Dish <=> <NULL>\n",
    "mit_corpus/restaurant/test": "the:O soup:B-Dish <=> <NULL>\n",
}


def stream(path: Path, tmp_path: Path, **changes: Any) -> Stream:
    own: dict[str, Any] = {
        "default_path": str(tmp_path / "none"),
        "auto_may_generate": True,
        "order": ["wnut17", "restaurant"],
        "split_policy": SplitPolicy(validation_share=0.5, overlap="drop", seed=0),
        "format": Format(prompt_template="{text}\nEntities:", metric="span_f1", gives_task=False),
    }
    return wnut_mit(**settings(path, tmp_path / "cache", SMALL, **own | changes))


def put(folder: Path, **changed: str) -> Path:
    for name, text in {**MADE, **changed}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_both_layouts_become_questions_about_entities(tmp_path: Path) -> None:
    corpus, problems = read(put(tmp_path))
    assert problems == []
    assert [(item.task, item.references[0]) for item in corpus.splits["train"]] == [
        ("wnut17", "person: Moor"),
        ("wnut17", "none"),
        ("restaurant", "dish: tart; restaurant name: old inn"),
        ("restaurant", "dish: pie"),
    ]


def test_validation_is_carved_for_the_domain_that_has_none(tmp_path: Path) -> None:
    made = stream(put(tmp_path / "files"), tmp_path)
    assert [[e.references[0] for e in test.examples] for test in made.tests] == [["person: Dale"], ["dish: soup"]]
    assert [(len(task.train), len(task.validation)) for task in made.tasks] == [(2, 1), (1, 1)]


def test_faults_are_told_with_file_and_line(tmp_path: Path) -> None:
    put(tmp_path, **{"mit_corpus/restaurant/test": "the:O\n", "mit_corpus/movie_eng/train": "a:O b <=> <NULL>\n"})
    assert faults(read, tmp_path) == [
        ("train", 1, "'b' is no pair of a token and a tag, token:tag"),
        ("train", None, "has no sentences"),
        ("test", None, "is missing"),
        ("test", 1, "lacks ' <=>' after its token:tag pairs"),
        ("test", None, "has no sentences"),
    ]
    assert "holds none of wnut17/wnut17train.conll" in faults(read, tmp_path / "mit_corpus")[0][2]


def test_the_stand_in_goes_through_the_same_readers(tmp_path: Path) -> None:
    made = stream(tmp_path / "none", tmp_path, order=list(DEFAULT))
    assert made.provenance.source == "generated"
    assert len(made.tasks) == 3 and all(task.train and task.validation for task in made.tasks)
    items = [item for item in SMALL.corpus().splits["test"] if item.task == "work"]  # the second theme
    queried = {e.prompt.removesuffix("\nEntities:"): e.references for e in made.tests[1].examples}
    assert queried == {item.fields["text"]: item.references for item in items}


def test_real_files_hold_one_entity_per_begin_tag(real_data: Path, tmp_path: Path) -> None:
    folder = real_data.parent / "ner"
    if not (folder / "wnut17").is_dir():
        pytest.skip(f"no WNUT17 at {folder}")
    corpus, problems = read(folder)
    assert problems == []
    for name, domain in DOMAINS.items():
        for split, file in domain.files.items():
            if not (folder / file).is_file():
                continue
            found = Counter(e.type for i in corpus.splits[split] if i.task == name for e in entities_of(i))
            begun = re.findall(r"[\t:]B-(\S+)", (folder / file).read_text(encoding="utf-8"))
            assert found == Counter(kind.lower().replace("_", " ") for kind in begun)
    made = stream(folder, tmp_path, order=list(DEFAULT))
    assert [len(test.examples) for test in made.tests] == [900, 400, 400]


def test_the_second_movie_corpus_is_its_own_task(tmp_path: Path) -> None:
    trivia = {
        f"mit_corpus/movie_trivia10k13/{split}": f"what:O film:O by:O {name}:B-Director lee:I-Director <=> <NULL>\n"
        for split, name in (("train", "ann"), ("valid", "bo"), ("test", "cy"))
    }
    made = stream(put(tmp_path / "files", **trivia), tmp_path, order=["trivia", "restaurant"])
    assert [task.name for task in made.tasks] == ["trivia", "restaurant"]
    assert made.tasks[0].train[0].target == " director: ann lee"
