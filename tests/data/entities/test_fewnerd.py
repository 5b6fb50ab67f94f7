"""Few-NERD: hand-made files in the released layout, tasks of types, the stand-in through the same reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.entities.fewnerd import fewnerd, read
from cmt_cli.data.labelled.items import SplitPolicy
from cmt_cli.data.labelled.labelled_stream import Format
from cmt_cli.data.world.entities import THEME_OF, Entities
from tests.data.labelled_settings import settings
from tests.data.written_files import faults

SMALL = Entities(num_train=60, num_validation=10, num_test=20, mixed_share=0.3, seed=0)
TRAIN = (
    "Moor\tperson-actor\nsang\tO\nTin\tart-music\nLamps\tart-music\n\n"
    "Dale\tperson-actor\nleft\tO\n\n"
    "Blue\tart-film\nby\tO\nReed\tperson-actor\n\n"
)


def stream(path: Path, tmp_path: Path, **changes: Any) -> Stream:
    own: dict[str, Any] = {
        "default_path": str(tmp_path / "none"),
        "auto_may_generate": True,
        "num_tasks": 3,
        "labels_per_task": None,
        "order_seed": None,
        "sentences_once": True,
        "split_policy": SplitPolicy(validation_share=0.1, overlap="drop", seed=0),
        "format": Format(prompt_template="{text}\nEntities:", metric="span_f1", gives_task=False),
    }
    return fewnerd(**settings(path, tmp_path / "cache", SMALL, **own | changes))


def put(folder: Path, train: str = TRAIN) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("train", train), ("dev", "Low\tperson-actor\n"), ("test", TRAIN.replace("\tO", "X\tO"))):
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def test_each_task_is_annotated_with_its_own_types_alone(tmp_path: Path) -> None:
    put(tmp_path / "files" / "supervised")
    made = stream(tmp_path / "files", tmp_path)  # in alphabetical order: film, music, actor
    assert [[e.target for e in task.train] for task in made.tasks] == [
        [" art-film: Blue"],
        [" art-music: Tin Lamps"],
        [" person-actor: Dale"],
    ]
    queried = [[e.references[0] for e in test.examples] for test in made.tests]
    actors = ["person-actor: Moor", "person-actor: Dale", "person-actor: Reed"]
    assert queried == [["art-film: Blue"], ["art-music: Tin Lamps"], actors]


def test_a_sentence_can_train_all_tasks_of_its_types(tmp_path: Path) -> None:
    made = stream(put(tmp_path / "files"), tmp_path, sentences_once=False)
    assert [len(task.train) for task in made.tasks] == [1, 1, 3]


def test_types_beyond_what_the_files_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not fit 3 labels"):
        stream(put(tmp_path / "files"), tmp_path, num_tasks=11, labels_per_task=6)


def test_faults_are_told_with_file_and_line(tmp_path: Path) -> None:
    put(tmp_path, "Moor person-actor extra\n\nDale\tO\n")
    (tmp_path / "test.txt").unlink()
    assert faults(read, tmp_path) == [
        ("train.txt", 3, "has 2 columns where the first line has 3"),
        (tmp_path.name, None, "holds no test.txt"),
    ]


def test_stand_in_divides_its_twelve_types_into_the_tasks(tmp_path: Path) -> None:
    made = stream(tmp_path / "none", tmp_path, num_tasks=11, order_seed=0)
    assert made.provenance.source == "generated"
    labels = [label.strip() for labels in made.tests[0].labels_by_task for label in labels]
    assert sorted(labels) == sorted(f"{theme}-{kind}" for kind, theme in THEME_OF.items())
    assert len(made.tasks) == 11 and all(task.train for task in made.tasks)
    train = SMALL.corpus().splits["train"]
    texts = {item.fields["text"] for item in train}
    assert {e.prompt.removesuffix("\nEntities:") for task in made.tasks for e in task.train} <= texts
