"""FewRel: files in their layout, every fault, the two protocols, the real files and the stand-in."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.files.problems import Problem, ProblemError
from cmt_cli.data.labelled.items import SplitPolicy
from cmt_cli.data.labelled.labelled_stream import Format
from cmt_cli.data.relations.fewrel import fewrel, read, write
from cmt_cli.data.relations.relation_split import RelationSplit
from cmt_cli.data.relations.world_relations import Mentions
from tests.data.labelled_settings import settings as stream_settings
from tests.data.written_files import fault

TEMPLATE = "{text}\nhead: {head}, tail: {tail}, relation:"
SMALL = Mentions(num_train=6, num_validation=2, num_test=2, seed=0)


def row(**changes: Any) -> dict[str, Any]:
    tokens = ["Ann", "Lee", "teaches", "Bo", " ", "Day", "."]
    return {"tokens": tokens, "h": ["ann lee", "Q1", [[0, 1]]], "t": ["bo day", "Q2", [[3, 4, 5]]], **changes}


def put(folder: Path, train: Any = None, val: Any = None, names: Any = None) -> Path:
    rows = [row(tokens=["Ann", "Lee", "teaches", "Bo", "and", f"Day{i}", "."]) for i in range(15)]
    names = {"P9": ["teacher of", "taught"], "P8": ["pupil  of", "was taught"]} if names is None else names
    documents = {
        "train_wiki.json": {"P9": rows[:10]} if train is None else train,
        "val_wiki.json": {"P8": rows[10:]} if val is None else val,
        "pid2name.json": names,
    }
    for name, document in documents.items():
        # one row on each line, so that a line tells which
        (folder / name).write_text(json.dumps(document, indent=0), encoding="utf-8")
    return folder


def stream(path: Path, cache: Path, **changes: Any) -> Stream:
    own: dict[str, Any] = {
        "default_path": str(cache / "fewrel"),
        "auto_may_generate": True,
        "name": "fewrel_10x8",
        "num_tasks": 2,
        "labels_per_task": None,
        "order_seed": None,
        "split": RelationSplit(num_train=420, num_validation=140, num_test=140, max_held_out_share=0.2, seed=0),
        "split_policy": SplitPolicy(validation_share=0.1, overlap="drop", seed=0),
        "format": Format(prompt_template=TEMPLATE, metric="em", gives_task=False),
    }
    return fewrel(**stream_settings(path, cache, SMALL, **own | changes))


def problems_of(folder: Path) -> list[tuple[str, int | None, str]]:
    return [fault(problem) for problem in read(folder)[1]]


def test_a_row_gives_text_marks_and_the_relations_name(tmp_path: Path) -> None:
    corpus, problems = read(put(tmp_path, train={"P9": [row()]}))
    assert not problems
    item, *others = corpus.splits["train"]
    assert dict(item.fields) == {"text": "Ann Lee teaches Bo Day .", "head": "Ann Lee", "tail": "Bo Day"}
    assert item.labels == item.references == ("teacher of",)
    assert {other.labels for other in others} == {("pupil of",)}  # of val_wiki.json


def test_byte_order_marks_crlf_and_gzip_change_nothing(tmp_path: Path) -> None:
    plain = read(put(tmp_path))[0].splits
    text = (tmp_path / "train_wiki.json").read_text()
    (tmp_path / "train_wiki.json").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (tmp_path / "val_wiki.json.gz").write_bytes(gzip.compress((tmp_path / "val_wiki.json").read_bytes()))
    (tmp_path / "val_wiki.json").unlink()
    corpus, problems = read(tmp_path)
    assert not problems and corpus.splits == plain


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        ("a row", "must be an object with 'tokens', 'h' and 't', not a string"),
        (row(tokens="Ann Lee"), "'tokens' must be a list of strings, not a string"),
        (row(tokens=["Ann", None]), "'tokens' must hold strings only, not null"),
        (row(tokens=[" "]), "'tokens' is empty"),
        (row(tokens=["\ud800"]), "'tokens' has half of a surrogate pair"),
        (row(h=["ann lee", "Q1"]), "'h' must be [name, id, [[positions of tokens], ...]]"),
        (row(t=["bo", "Q2", [[]]]), "'t' must give the positions of its tokens as a list of whole numbers"),
        (row(t=["bo", "Q2", [["3"]]]), "'t' must give the positions of its tokens as a list of whole numbers"),
        (row(t=["bo", "Q2", [[7]]]), "'t' stands at [7], but the sentence has 7 tokens"),
        (row(t=["bo", "Q2", [[4]]]), "'t' is blank"),
    ],
)
def test_faulty_rows_are_reported_with_lines_and_others_read(tmp_path: Path, faulty: Any, message: str) -> None:
    put(tmp_path)
    (tmp_path / "train_wiki.json").write_text(
        '{"P9": [\n' + json.dumps(row()) + ",\n" + json.dumps(faulty) + ",\n" + json.dumps(row()) + "\n]}"
    )
    corpus, problems = read(tmp_path)
    (name, line, text) = fault(problems[0])
    assert (name, len(problems)) == ("train_wiki.json", 1)
    assert line == (2 if isinstance(faulty, str) else 3) - isinstance(faulty, str)  # of the list, or of the row
    assert message in text and "P9[1]" in text
    assert len([item for item in corpus.splits["train"] if item.labels == ("teacher of",)]) == 2


@pytest.mark.parametrize(
    ("files", "name", "message"),
    [
        ({"train": []}, "train_wiki.json", "must be an object that maps each relation to a list of rows, not a list"),
        ({"train": {}}, "train_wiki.json", "must be an object that maps each relation to a list of rows, not empty"),
        ({"train": {"P9": {}}}, "train_wiki.json", "P9 must be a list of rows, not an object"),
        ({"train": {"P9": []}}, "train_wiki.json", "P9 must be a list of rows, not empty"),
        ({"train": {"P7": [row()]}}, "train_wiki.json", "the relation P7 has no name in pid2name.json"),
        ({"val": {"P9": [row()]}}, "val_wiki.json", "P9 is in an earlier file too"),
        ({"names": {"P9": "teacher", "P8": ["pupil"]}}, "pid2name.json", "P9 must be [name, description] with a name"),
        ({"names": {"P9": ["of"], "P8": ["of"]}}, "train_wiki.json", "shares the name 'of' with another"),
    ],
)
def test_faults_of_whole_relations_or_files_have_no_line(
    tmp_path: Path, files: dict[str, Any], name: str, message: str
) -> None:
    first, *_ = problems_of(put(tmp_path, **files))
    assert first[:2] == (name, None) and message in first[2]


def test_damaged_and_missing_files_cannot_be_skipped(tmp_path: Path) -> None:
    assert [text for _, _, text in problems_of(tmp_path)] == [
        "holds neither train_wiki.json nor val_wiki.json",
        "holds no pid2name.json, the names of the relations",
    ]
    put(tmp_path)
    (tmp_path / "train_wiki.json").write_text('{"P9": [\n')
    (problem,) = read(tmp_path)[1]
    assert "train_wiki.json:2: is not valid json" in str(problem) and problem.ends_file
    (tmp_path / "train_wiki.json").write_bytes(b'{"P9": [\xff]}')
    assert "is not UTF-8" in problems_of(tmp_path)[0][2]


def test_faulty_rows_are_an_error_or_skipped_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    put(folder, train={"P9": [*(row(tokens=["Ann", "Lee", "and", "Bo", "or", f"{i}"]) for i in range(10)), row(h=3)]})
    with pytest.raises(ProblemError, match=r"P9\[10\]: 'h' must be"):
        stream(folder, tmp_path)
    made = stream(folder, tmp_path, on_bad_row="skip")
    assert "1 faulty row skipped" in made.provenance.note
    assert [len(task.train) for task in made.tasks] == [6, 3]


def test_rows_are_divided_in_file_or_seeded_order(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    made = stream(put(folder), tmp_path)
    assert made.name == "fewrel_10x8" and made.provenance.source == "real" and len(made.provenance.files) == 3
    assert [(len(t.train), len(t.validation)) for t in made.tasks] == [(6, 2), (3, 1)]  # 10 rows and 5
    assert [len(test.examples) for test in made.tests] == [2, 1]
    assert "scaled for 2 of 2 relations" in made.provenance.note
    example = made.tasks[0].train[0]
    assert example.prompt.endswith("\nhead: Ann Lee, tail: Bo and " + example.prompt.split()[5] + ", relation:")
    assert example.target == " teacher of"
    firsts = {stream(folder, tmp_path, order_seed=seed).tasks[0].train[0].target for seed in range(5)}
    assert firsts == {" teacher of", " pupil of"}


def test_more_relations_than_there_are_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    with pytest.raises(UserError, match=r"data\.num_tasks=10 of 8 labels does not fit 2 labels"):
        stream(put(folder), tmp_path, num_tasks=10, labels_per_task=8)


def test_the_stand_in_passes_through_the_same_reader(tmp_path: Path) -> None:
    write(tmp_path, SMALL.corpus())
    corpus, problems = read(tmp_path)
    assert not problems and not corpus.notes
    assert len(corpus.splits["train"]) == 16 * 10
    made = stream(tmp_path / "cache" / "fewrel", tmp_path / "cache", num_tasks=8)
    assert made.provenance.source == "generated"
    assert [len(task.train) for task in made.tasks] == [2 * 6] * 8
    kept = {(item.fields["head"], item.fields["tail"], item.labels) for item in corpus.splits["train"]}
    assert kept == {(i.fields["head"], i.fields["tail"], i.labels) for s in SMALL.corpus().splits.values() for i in s}


def test_the_real_files_are_read_whole(real_data: Path, tmp_path: Path) -> None:
    folder = real_data.parent / "relation_extraction" / "fewrel"
    corpus, problems = read(folder)
    assert not problems
    assert Counter(Counter(item.labels for item in corpus.splits["train"]).values()) == {200: 11}
    made = stream(folder, tmp_path, num_tasks=10)
    assert "11 relations, train_wiki.json is not there" in made.provenance.note
    assert "scaled for 11 of 11 relations with fewer rows (the smallest to 120/40/40)" in made.provenance.note
    assert sum(len(test.examples) for test in made.tests) == 11 * 40
    assert 11 * 110 < sum(len(task.train) for task in made.tasks) <= 11 * 120  # upstream repeats a few rows


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["tokens", "h", "t"]), inner),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ANYTHING | st.builds(row, tokens=ANYTHING) | st.builds(row, h=ANYTHING), min_size=1, max_size=3))
def test_any_row_is_an_item_or_a_problem(tmp_path: Path, rows: list[Any]) -> None:
    corpus, problems = read(put(tmp_path, train={"P9": rows}, val={"P8": [row()]}))
    assert len(corpus.splits["train"]) - 1 + len(problems) == len(rows)
    assert all(isinstance(problem, Problem) and problem.line for problem in problems)


def test_fewrel_2_files_key_rows_by_relation(tmp_path: Path) -> None:
    (tmp_path / "val_pubmed.json").write_text(json.dumps({"may_be_treated_by": [row()], "causes": [row()]}))
    for path in (tmp_path, tmp_path / "val_pubmed.json"):
        corpus, problems = read(path)
        assert problems == [] and len(corpus.files) == 1 and corpus.notes == ()
        assert [item.labels for item in corpus.splits["train"]] == [("may be treated by",), ("causes",)]


def test_other_domains_do_not_join_the_relations_of_wikipedia(tmp_path: Path) -> None:
    before = read(put(tmp_path))
    (tmp_path / "val_pubmed.json").write_text(json.dumps({"causes": [row()]}))
    assert read(tmp_path) == before
