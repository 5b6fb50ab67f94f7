"""BANKING77: two csv files, a carved validation split, faults with their lines."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from cmt_cli.core.stream import Stream
from cmt_cli.data.classification.banking77 import banking77, read
from cmt_cli.data.files.problems import ProblemError
from cmt_cli.data.world.intents import Intents
from tests.data.labelled_settings import faults, rows, settings, sizes

SMALL = Intents(num_train=10, num_validation=1, num_test=2, seed=0)
TRAIN = "".join(f'"Where is card {i}, please?",card_arrival\nMy PIN {i} fails,PIN_blocked?\n' for i in range(5))
TEST = "Is my card near?,card_arrival\nPIN?,PIN_blocked?\n"


def put(folder: Path, train: str = TRAIN, test: str = TEST, header: str = "text,category\n") -> Path:
    folder.mkdir()
    (folder / "train.csv").write_text(header + train, encoding="utf-8")
    (folder / "test.csv").write_text(header + test, encoding="utf-8")
    return folder


def stream(folder: Path, cache: Path, **changes: Any) -> Stream:
    own = {"num_tasks": 2, "labels_per_task": None, "order_seed": None}
    return banking77(**settings(folder, cache, SMALL, **own | changes))


def test_rows_are_read_with_labels_as_words(tmp_path: Path) -> None:
    corpus, problems = read(put(tmp_path / "bank"))
    assert problems == []
    assert rows(corpus, "train")[:2] == [
        ("banking", "Where is card 0, please?", "card arrival"),
        ("banking", "My PIN 0 fails", "PIN blocked?"),
    ]
    assert rows(corpus, "test")[0] == ("banking", "Is my card near?", "card arrival")


def test_every_task_has_validation_rows_carved_from_training(tmp_path: Path) -> None:
    made = stream(put(tmp_path / "bank"), tmp_path)
    assert sizes(made) == [("labels_00", 4, 1, 1), ("labels_01", 4, 1, 1)]
    assert "2 validation rows carved from training" in made.provenance.note


def test_column_order_bom_crlf_and_gzip_change_nothing(tmp_path: Path) -> None:
    folder = put(tmp_path / "bank")
    (folder / "train.csv").unlink()
    text = "\ufeffcategory,id,text\r\ncard_arrival,1,a\r\nPIN_blocked?,2,b\r\n"
    (folder / "train.csv.gz").write_bytes(gzip.compress(text.encode()))
    corpus, problems = read(folder)
    assert problems == []
    assert rows(corpus, "train") == [("banking", "a", "card arrival"), ("banking", "b", "PIN blocked?")]


def test_faulty_rows_are_reported_with_lines_or_skipped(tmp_path: Path) -> None:
    folder = put(tmp_path / "bank", train=f"{TRAIN}no category\n ,card_arrival\n", test=f"{TEST}What?,money\na,\n")
    assert faults(read, folder) == [
        ("train.csv", 12, "has 1 field where the header has 2"),
        ("train.csv", 13, "'text' is empty"),
        ("test.csv", 4, "the category 'money' has no training rows"),
        ("test.csv", 5, "'category' is empty"),
    ]
    with pytest.raises(ProblemError, match="4 problems"):
        stream(folder, tmp_path)
    made = stream(folder, tmp_path, on_bad_row="skip")
    assert made.provenance.note.startswith("4 faulty rows skipped")
    assert sizes(made) == [("labels_00", 4, 1, 1), ("labels_01", 4, 1, 1)]


def test_wrong_bytes_are_faults_of_their_row(tmp_path: Path) -> None:
    folder = put(tmp_path / "bank")
    (folder / "test.csv").write_bytes(b"text,category\nLatin \xe9,card_arrival\nfine,card_arrival\n")
    assert faults(read, folder) == [("test.csv", 2, "is not UTF-8 (byte 0xe9 at 6 of the line)")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"text,category\n", "has no rows"),
        (b"text;category\na;b\n", "test.csv:1: the column 'text' is missing; there are 'text;category'"),
        (b'text,category\na,card_arrival\n"open,card_arrival\n', "test.csv:3: is not valid csv"),
        (TEST.encode("utf-16"), "test.csv:1: is UTF-16; save it as UTF-8"),
        (gzip.compress(b"text,category\na,card_arrival\n" * 99, mtime=0)[:-9], "the gzip data are damaged"),
    ],
    ids=["empty", "no rows", "no column", "open quote", "utf-16", "damaged gzip"],
)
def test_skipping_rows_excuses_no_fault_that_ends_a_file(data: bytes, message: str, tmp_path: Path) -> None:
    folder = put(tmp_path / "bank")
    (folder / "test.csv").write_bytes(data)
    found = [problem for problem in read(folder)[1] if message in str(problem)]
    assert [(problem.file.name, problem.is_of_row) for problem in found] == [("test.csv", False)]
    with pytest.raises(ProblemError):
        stream(folder, tmp_path, on_bad_row="skip")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = put(tmp_path / "bank")
    (folder / "train.csv").unlink()
    assert faults(read, folder) == [("bank", None, "holds no train.csv")]


def test_the_stand_in_passes_through_the_same_reader(tmp_path: Path) -> None:
    made = stream(Path("data/somewhere"), tmp_path, source="generated", num_tasks=7)
    assert made.provenance.source == "generated"
    assert [len(labels) for labels in made.tests[0].labels_by_task] == [4, 5, 4, 5, 4, 5, 5]
    assert all(task.train and task.validation for task in made.tasks)


def test_the_real_files_hold_57_intents(real_data: Path, tmp_path: Path) -> None:
    made = stream(real_data.parent / "text_classification" / "banking77", tmp_path, num_tasks=5, labels_per_task=11)
    assert len({label for labels in made.tests[0].labels_by_task for label in labels}) == 55
    assert {len(test.examples) for test in made.tests} == {440}  # 11 intents x 40
