"""Tables of every format: the same rows, values as they are written, faults with their places."""

from __future__ import annotations

import datetime
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value
from pyarrow import parquet

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.table_rows import TableForm, format_of, missing_columns, rows_of, stem_of, value_at

PLAIN = TableForm(has_quotes=True, header=None, delimiter=None)
ROWS = [{"text": "a, b", "label": "x"}, {"text": 'say "c"', "label": "y"}]
CSV = 'text,label\n"a, b",x\n"say ""c""",y\n'
TSV = 'text\tlabel\n"a, b"\tx\n"say ""c"""\ty\n'


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(file: Path, form: TableForm = PLAIN) -> tuple[list[tuple[str, dict[str, Any]]], list[Problem]]:
    problems: list[Problem] = []
    return [(name, dict(record.values)) for name, record in rows_of(file, form, problems)], problems


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", CSV),
        ("rows.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("rows.TSV", TSV),
        ("rows.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS)),
        ("rows.json", json.dumps(ROWS)),
        ("rows.json", "".join(json.dumps(row) + "\n" for row in ROWS)),
    ],
    ids=["csv", "csv.gz", "tsv", "jsonl", "json", "json_lines"],
)
def test_every_text_format_gives_the_same_rows(name: str, content: str | bytes, tmp_path: Path) -> None:
    rows, problems = read(put(tmp_path / name, content))
    assert (rows, problems) == ([("", row) for row in ROWS], [])
    assert stem_of(tmp_path / name) == "rows"


def test_parquet_gives_the_same_rows_with_numbers_for_lines(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    problems: list[Problem] = []
    found = [record for _, record in rows_of(tmp_path / "rows.parquet", PLAIN, problems)]
    assert [record.values for record in found] == ROWS and problems == []
    assert [record.problem("odd").line for record in found] == [1, 2]


def test_class_labels_of_a_parquet_file_are_their_names(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})
    made = Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)
    made.to_parquet(str(tmp_path / "rows.parquet"))
    rows, problems = read(tmp_path / "rows.parquet")
    assert [values["label"] for _, values in rows] == ["good", "bad", None] and problems == []


def test_lists_of_class_labels_are_their_names(tmp_path: Path) -> None:
    features = Features({"tags": Sequence(ClassLabel(names=["O", "B-person"]))})
    Dataset.from_dict({"tags": [[0, 1], []]}, features=features).to_parquet(str(tmp_path / "rows.parquet"))
    rows, problems = read(tmp_path / "rows.parquet")
    assert [values["tags"] for _, values in rows] == [["O", "B-person"], []] and problems == []


def test_parquet_dates_become_text_and_decimals_stay_numbers(tmp_path: Path) -> None:
    table = pyarrow.table({"day": [datetime.date(2020, 5, 17)], "price": pyarrow.array([1.5], pyarrow.float64())})
    parquet.write_table(table, tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet")[0] == [("", {"day": "2020-05-17", "price": 1.5})]


def test_a_json_file_may_hold_a_list_per_split(tmp_path: Path) -> None:
    file = put(tmp_path / "rows.json", json.dumps({"train": [ROWS[0]], "test": [ROWS[1]]}))
    assert read(file) == ([("train", ROWS[0]), ("test", ROWS[1])], [])


def test_rows_without_names_take_those_of_the_header(tmp_path: Path) -> None:
    form = TableForm(has_quotes=True, header=["text", "label"], delimiter=None)
    assert read(put(tmp_path / "rows.csv", CSV.partition("\n")[2]), form)[0] == [("", row) for row in ROWS]
    pairs = put(tmp_path / "rows.json", json.dumps([list(row.values()) for row in ROWS]))
    assert read(pairs, form)[0] == [("", row) for row in ROWS]


def test_columns_may_be_divided_by_another_character(tmp_path: Path) -> None:
    form = TableForm(has_quotes=True, header=None, delimiter=";")
    assert read(put(tmp_path / "rows.csv", "text;label\na,b;x\n"), form)[0] == [("", {"text": "a,b", "label": "x"})]
    with pytest.raises(UserError, match=r"data\.table\.delimiter=', ' must be one character"):
        TableForm(has_quotes=True, header=None, delimiter=", ")


@pytest.mark.parametrize(("mark", "setting"), [(";", '";"'), ("\t", "tab"), ("|", '"|"')])
def test_an_unusual_delimiter_is_recognized_and_accepted(tmp_path: Path, mark: str, setting: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(f"text{mark}label\ngood{mark}1\n")
    ((_, record),) = rows_of(file, PLAIN, [])
    (problem,) = missing_columns(record, {"text": "data.columns.text", "label": "data.columns.answer"}, file)
    assert f"'data.table.delimiter={setting}'" in problem.message and problem.is_setting
    form = TableForm(has_quotes=True, header=None, delimiter=setting.strip('"'))
    assert [row.values for _, row in rows_of(file, form, [])] == [{"text": "good", "label": "1"}]


def test_quotation_marks_may_be_plain_characters(tmp_path: Path) -> None:
    file = put(tmp_path / "rows.tsv", 'text\tlabel\n"open\tx\n')
    assert "is not valid csv" in str(read(file)[1][0])
    assert read(file, TableForm(has_quotes=False, header=None, delimiter=None)) == (
        [("", {"text": '"open', "label": "x"})],
        [],
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "", "rows.csv: is empty"),
        ("rows.tsv", "text\tlabel\n", "rows.tsv: has no rows"),
        ("rows.csv", "text,label\na\n", "rows.csv:2: has 1 field where the header has 2"),
        ("rows.jsonl", '{"text": "a"}\n{"text": \n', "rows.jsonl:2: is not valid json"),
        ("rows.json", "[]", "rows.json: has no rows"),
        ("rows.json", '"text"', "rows.json: must be a list of objects, or an object with a list"),
        ("rows.json", '{"train": [], "version": "1"}', "lists of them only; 'version' is a string"),
        ("rows.json", '[{"text": "a"},\n"b"]', "rows.json:1: [1]: must be an object, not a string"),
        ("rows.json", '[["a", "b"], ["c", "d"]]', "not a list of 2; data.table.header can name its values"),
        ("rows.parquet", "PAR1 but not really", "rows.parquet: is not a parquet file that can be read"),
    ],
)
def test_a_fault_is_told_once_with_its_place(name: str, content: str, message: str, tmp_path: Path) -> None:
    (problem,) = read(put(tmp_path / name, content))[1]
    assert message in str(problem)


def test_missing_columns_are_told_with_those_that_are_there(tmp_path: Path) -> None:
    file = put(tmp_path / "rows.json", json.dumps([{"text": "a", "choices": {"label": ["A"], "text": ["b"]}}]))
    record = next(record for _, record in rows_of(file, PLAIN, []))
    wanted = {"choices.label": "columns.choices", "choices.texts": "columns.choices"}
    (problem,) = missing_columns(record, wanted, file)
    assert "'choices.texts' is missing; there are 'text', 'choices.label', 'choices.text'." in problem.message
    assert "Did you mean 'choices.text'? Name the right one with columns.choices" in problem.message


def test_values_inside_objects_are_named_with_dots() -> None:
    assert value_at({"a.b": 1, "a": {"b": 2, "c": {"d": 3}}}, "a.b") == 1
    assert value_at({"a": {"c": {"d": 3}}}, "a.c.d") == 3
    with pytest.raises(KeyError):
        value_at({"a": 1}, "a.b")


def test_other_files_are_no_tables() -> None:
    assert [format_of(Path(name)) for name in ("a.txt", "a", "a.gz", "a.csv.zip")] == [None] * 4
