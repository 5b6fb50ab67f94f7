"""SemEval-2010 task 8: records in their layout, every fault with its line, the real files and the stand-in."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmt_cli.core.stream import Stream
from cmt_cli.data.files.problems import ProblemError
from cmt_cli.data.labelled.items import SplitPolicy
from cmt_cli.data.labelled.labelled_stream import Format
from cmt_cli.data.relations.semeval2010 import read, semeval2010, write
from cmt_cli.data.relations.world_relations import Mentions
from tests.data.labelled_settings import settings as stream_settings
from tests.data.written_files import fault

SMALL = Mentions(num_train=6, num_validation=2, num_test=2, seed=0)
SENTENCE = '"The <e1>ladle</e1> of the old <e2>ship cook</e2> was lost {number} times."'


def record(number: int, relation: str = "Instrument-Agency(e1,e2)", sentence: str = SENTENCE) -> str:
    return f"{number}\t{sentence.format(number=number)}\n{relation}\nComment: the cook uses it\n\n"


def put(folder: Path, train: str | None = None, test: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    others = "".join(record(number, "Other") for number in range(20, 26))
    train = "".join(record(number) for number in range(10)) + others if train is None else train
    test = record(30) + record(31, "Other") if test is None else test
    (folder / "TRAIN_FILE.TXT").write_bytes(train.encode())
    (folder / "TEST_FILE_FULL.TXT").write_bytes(test.encode())
    return folder


def stream(path: Path, cache: Path, **changes: Any) -> Stream:
    own: dict[str, Any] = {
        "default_path": str(cache / "semeval2010"),
        "auto_may_generate": True,
        "num_tasks": 2,
        "labels_per_task": None,
        "order_seed": None,
        "split_policy": SplitPolicy(validation_share=0.2, overlap="error", seed=0),
        "format": Format(prompt_template="{text}\ne1: {head}, e2: {tail}, relation:", metric="em", gives_task=False),
    }
    return semeval2010(**stream_settings(path, cache, SMALL, **own | changes))


def test_records_give_plain_sentence_mentions_and_directed_relation(tmp_path: Path) -> None:
    corpus, problems = read(put(tmp_path))
    assert not problems
    item = corpus.splits["train"][7]
    assert dict(item.fields) == {
        "text": "The ladle of the old ship cook was lost 7 times.",
        "head": "ladle",
        "tail": "ship cook",
    }
    assert item.labels == item.references == ("Instrument-Agency(e1,e2)",) and item.id == "train-7"
    assert [item.labels for item in corpus.splits["test"]] == [("Instrument-Agency(e1,e2)",), ("Other",)]


def test_folders_byte_order_marks_crlf_and_gzip_change_nothing(tmp_path: Path) -> None:
    plain = read(put(tmp_path / "plain"))[0].splits
    deep, text = tmp_path / "all" / "SemEval2010_task8_training", (tmp_path / "plain" / "TRAIN_FILE.TXT").read_bytes()
    deep.mkdir(parents=True)
    (deep / "TRAIN_FILE.TXT").write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    (tmp_path / "all" / "keys").mkdir()
    test = (tmp_path / "plain" / "TEST_FILE_FULL.TXT").read_bytes()
    (tmp_path / "all" / "keys" / "TEST_FILE_FULL.TXT.gz").write_bytes(gzip.compress(test))
    corpus, problems = read(tmp_path / "all")
    assert not problems and corpus.splits == plain


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        ("The <e1>a</e1> of <e2>b</e2>.\nOther\n\n", "must begin with a number and a sentence"),
        (record(9, sentence="The ladle of the <e2>cook</e2>."), "must mark one mention with <e1> and </e1>"),
        (record(9, sentence="<e1>A</e1> or <e1>b</e1> of <e2>c</e2>."), "must mark one mention with <e1> and </e1>"),
        (record(9, sentence="<e1>A</e1> of <e2> </e2>."), "must mark one mention with <e2> and </e2>"),
        (record(9, sentence="<e1>A</e1> of <e2>b."), "must mark one mention with <e2> and </e2>"),
        (record(9, "Cause-Effect"), "'Cause-Effect' is no relation; give Other or one like Cause-Effect(e1,e2)"),
        (record(9, "cause effect(e1,e2)"), "'cause effect(e1,e2)' is no relation"),
        (SENTENCE.format(number=9).join(["9\t", "\n\n"]), "the relation is missing"),
        (record(9).rstrip() + "\n" + record(8), "an empty line ends a record"),
        (record(9, "Cause-Effect(e1,e2)"), "the relation 'Cause-Effect(e1,e2)' has no training rows"),
    ],
)
def test_faulty_records_are_reported_at_their_first_line(tmp_path: Path, faulty: str, message: str) -> None:
    corpus, problems = read(put(tmp_path, test=record(1) + faulty + record(2)))
    ((name, line, text),) = map(fault, problems)
    assert (name, line) == ("TEST_FILE_FULL.TXT", 5) and message in text
    assert [item.id for item in corpus.splits["test"]] == ["test-1", "test-2"]


def test_a_line_not_in_utf8_costs_its_record(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "TEST_FILE_FULL.TXT").write_bytes(record(1).encode() + record(2).encode().replace(b"old", b"\xe9"))
    corpus, problems = read(tmp_path)
    assert [fault(problem)[:2] for problem in problems] == [("TEST_FILE_FULL.TXT", 5)]
    assert [item.id for item in corpus.splits["test"]] == ["test-1"]


def test_empty_missing_and_damaged_files_cannot_be_skipped(tmp_path: Path) -> None:
    assert [fault(problem)[1:] for problem in read(tmp_path)[1]] == [
        (None, "holds no TRAIN_FILE.TXT"),
        (None, "holds no TEST_FILE_FULL.TXT"),
    ]
    put(tmp_path, train="\n\n")
    assert ("TRAIN_FILE.TXT", None, "is empty") in map(fault, read(tmp_path)[1])
    put(tmp_path)
    (tmp_path / "TRAIN_FILE.TXT").write_bytes(gzip.compress((tmp_path / "TRAIN_FILE.TXT").read_bytes())[:-9])
    problem = read(tmp_path)[1][0]
    assert "TRAIN_FILE.TXT:65: the gzip data are damaged" in str(problem) and problem.ends_file


def test_faulty_records_are_an_error_or_skipped_and_counted(tmp_path: Path) -> None:
    folder = put(tmp_path / "files", test=record(30) + record(31, "Other") + record(32, "Unknown"))
    with pytest.raises(ProblemError, match=r"TEST_FILE_FULL.TXT:9: 'Unknown' is no relation"):
        stream(folder, tmp_path)
    made = stream(folder, tmp_path, on_bad_row="skip")
    assert "1 faulty row skipped" in made.provenance.note
    assert [(len(t.train), len(t.validation)) for t in made.tasks] == [(8, 2), (5, 1)]  # carved: a fifth of 10 and 6
    assert made.tasks[0].train[0].prompt.endswith("times.\ne1: ladle, e2: ship cook, relation:")


def test_the_stand_in_passes_through_the_same_reader(tmp_path: Path) -> None:
    write(tmp_path, SMALL.corpus())
    corpus, problems = read(tmp_path)
    assert not problems
    for split in ("train", "test"):
        pairs = [(i.fields["text"], i.fields["head"], i.fields["tail"]) for i in SMALL.corpus().splits[split]]
        assert [(i.fields["text"], i.fields["head"], i.fields["tail"]) for i in corpus.splits[split]] == pairs
    labels = {item.labels[0] for item in corpus.splits["train"]}
    assert len(labels) == 16 and {"Person-Pet(e1,e2)", "Person-Pet(e2,e1)"} <= labels
    made = stream(tmp_path / "cache" / "semeval2010", tmp_path / "cache", num_tasks=5)
    assert made.provenance.source == "generated" and len(made.tasks) == 5


def test_the_real_files_are_read_whole(real_data: Path, tmp_path: Path) -> None:
    folder = real_data.parent / "relation_extraction" / "semeval2010_task8"
    corpus, problems = read(folder)
    assert not problems
    assert {split: len(items) for split, items in corpus.splits.items()} == {"train": 2500, "test": 600}
    assert len({item.labels for item in corpus.splits["train"]}) == 18  # the 19th has one row upstream
    made = stream(folder, tmp_path, num_tasks=5, split_policy=SplitPolicy(validation_share=0.1, overlap="drop", seed=0))
    assert sum(len(test.examples) for test in made.tests) == 600


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.sampled_from('<e1>/2"\t\n 7Other()-,\u2028é'), max_size=60))
def test_the_record_after_any_text_is_read(tmp_path: Path, text: str) -> None:
    corpus, problems = read(put(tmp_path, train=f"{text}\n\n{record(9)}"))
    assert corpus.splits["train"][-1].id == "train-9"
    assert all(p.line for p in problems if p.file.name == "TRAIN_FILE.TXT")


CUT = "without a line ending"
HALF = "the file ends within this record: it has no comment, as all others have"


@pytest.mark.parametrize(
    ("num_bytes_lost", "line", "message"),
    [(2, 7, CUT), (5, 7, CUT), (10, 5, HALF), (11, 6, CUT), (35, 5, "the relation is missing"), (36, 5, CUT)],
)
def test_a_half_record_at_the_end_is_told(tmp_path: Path, num_bytes_lost: int, line: int, message: str) -> None:
    record = '{}\t"The <e1>cup</e1> held <e2>tea</e2>."\nContent-Container(e2,e1)\nComment:\n\n'
    text = record.format(1) + record.format(2)
    put(tmp_path)
    (tmp_path / "TRAIN_FILE.TXT").write_text(text[:-num_bytes_lost])
    found = [fault(problem)[1:] for problem in read(tmp_path)[1] if problem.file.name == "TRAIN_FILE.TXT"]
    assert [told for told in found if told[0] == line and message in told[1]], found
