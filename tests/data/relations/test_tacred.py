"""TACRED: rows in the layout of the release (made up), every fault, RP-CRE's division, and the stand-in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.labelled.items import SplitPolicy
from cmt_cli.data.labelled.labelled_stream import Format
from cmt_cli.data.relations.relation_split import RelationSplit
from cmt_cli.data.relations.tacred import answer_of, read, tacred, write
from cmt_cli.data.relations.world_relations import Mentions
from tests.data.labelled_settings import settings as stream_settings
from tests.data.written_files import fault

SMALL = Mentions(num_train=6, num_validation=2, num_test=2, seed=0)


def row(number: int = 0, relation: object = "per:title", **changes: Any) -> dict[str, Any]:
    return {
        "id": f"e{number}",
        "relation": relation,
        "token": ["Ann", "Lee", "is", "vet", str(number), "."],
        "subj_start": 0,
        "subj_end": 1,
        "obj_start": 3,
        "obj_end": 3,
        "subj_type": "PERSON",
        **changes,
    }


def put(folder: Path, train: Any = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row(n) for n in range(20)] + [row(n, "org:founded_by") for n in range(30, 40)]
    rows += [row(n, "no_relation") for n in range(50, 90)]
    files = {"train": rows[::2] if train is None else train, "dev": rows[1::4], "test": rows[3::4]}
    for name, document in files.items():
        (folder / f"{name}.json").write_text(json.dumps(document, indent=0), encoding="utf-8")
    return folder


def stream(path: Path, cache: Path, **changes: Any) -> Stream:
    own: dict[str, Any] = {
        "default_path": str(cache / "tacred"),
        "auto_may_generate": True,
        "num_tasks": 2,
        "labels_per_task": None,
        "dropped_relations": ["no_relation"],
        "order_seed": None,
        "split": RelationSplit(num_train=320, num_validation=0, num_test=3, max_held_out_share=0.2, seed=0),
        "split_policy": SplitPolicy(validation_share=0.25, overlap="error", seed=0),
        "format": Format(prompt_template="{text}\nhead: {head}, tail: {tail}:", metric="em", gives_task=False),
    }
    return tacred(**stream_settings(path, cache, SMALL, **own | changes))


def test_rows_give_text_mentions_and_the_relation_in_words(tmp_path: Path) -> None:
    corpus, problems = read(put(tmp_path, [row(7)]))
    assert not problems
    (item,) = corpus.splits["train"]
    assert dict(item.fields) == {"text": "Ann Lee is vet 7 .", "head": "Ann Lee", "tail": "vet"}
    assert item.labels == item.references == ("person: title",)
    assert answer_of("org:top_members/employees") == "organization: top members/employees"
    assert answer_of("no_relation") == "no relation"


def test_rows_of_all_files_are_pooled_without_no_relation(tmp_path: Path) -> None:
    made = stream(put(tmp_path / "tacred" / "data" / "json").parents[2], tmp_path)
    # 20 rows: 3 queried, 17 left, a quarter of them carved; 10 rows: a fifth is 2
    assert [len(task.train) + len(task.validation) for task in made.tasks] == [17, 8]
    assert [len(test.examples) for test in made.tests] == [3, 2]
    assert {e.target for task in made.tasks for e in task.train} == {" person: title", " organization: founded by"}
    assert "validation rows carved from training" in made.provenance.note


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        ([1], "must be an object, not a list"),
        (row(token="Ann"), "'token' must be a list of strings, not a string"),
        (row(token=[]), "'token' is empty"),
        (row(subj_end=None), "'subj_start' and 'subj_end' must be whole numbers"),
        (row(obj_start=True), "'obj_start' and 'obj_end' must be whole numbers"),
        (row(obj_end=6), "the mention from obj_start 3 to obj_end 6 is not in the 6 tokens"),
        (row(subj_start=2), "the mention from subj_start 2 to subj_end 1 is not in the 6 tokens"),
        (row(relation=" "), "'relation' is empty"),
        (row(relation=3), "'relation' must be a string, not a number"),
    ],
)
def test_faulty_rows_are_reported_with_lines_and_others_read(tmp_path: Path, faulty: Any, message: str) -> None:
    put(tmp_path)
    lines = [json.dumps(value) for value in (row(1), faulty, row(2))]
    (tmp_path / "train.json").write_text("[" + ",\n".join(lines) + "]")
    corpus, problems = read(tmp_path)
    ((name, line, text),) = map(fault, problems)
    assert (name, line) == ("train.json", 2) and message in text
    assert [item.id for item in corpus.splits["train"]] == ["train-000000", "train-000002"]


@pytest.mark.parametrize(("document", "message"), [({}, "not an object"), ([], "not empty")])
def test_a_file_holding_no_row_list_cannot_be_skipped(tmp_path: Path, document: Any, message: str) -> None:
    name, line, text = fault(read(put(tmp_path, document))[1][0])
    assert (name, line) == ("train.json", None) and text.endswith(message)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    assert len(read(tmp_path)[1]) == 3
    put(tmp_path)
    (tmp_path / "dev.json").write_text("[\n{")
    (problem,) = read(tmp_path)[1]
    assert "dev.json:2: is not valid json" in str(problem) and problem.ends_file


def test_missing_data_names_where_to_obtain_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"may not be distributed\. Obtain LDC2018T24"):
        stream(tmp_path / "tacred", tmp_path, source="real")


def test_the_stand_in_passes_through_the_same_reader(tmp_path: Path) -> None:
    write(tmp_path, SMALL.corpus())
    corpus, problems = read(tmp_path)
    assert not problems
    for split, items in SMALL.corpus().splits.items():
        expected = [(i.fields["head"], i.fields["tail"], f"person: {i.labels[0]}") for i in items]
        assert [(i.fields["head"], i.fields["tail"], i.labels[0]) for i in corpus.splits[split]] == expected
    made = stream(tmp_path / "cache" / "tacred", tmp_path / "cache", num_tasks=8)
    assert made.provenance.source == "generated" and len(made.tasks) == 8


ANYTHING = st.none() | st.booleans() | st.integers(-2, 9) | st.text(max_size=3) | st.lists(st.text(max_size=2))
KEYS = st.sampled_from(["token", "relation", "subj_start", "subj_end", "obj_start", "obj_end"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(KEYS, ANYTHING, max_size=2))
def test_any_row_is_an_item_or_problems_with_lines(tmp_path: Path, changes: dict[str, Any]) -> None:
    corpus, problems = read(put(tmp_path, [{**row(), **changes}]))
    assert len(corpus.splits["train"]) + len(problems) == 1
    assert all(problem.line for problem in problems)
