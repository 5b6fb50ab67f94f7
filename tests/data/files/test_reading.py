"""The readers: rows with their file and line, and problems in place of exceptions."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.files.problems import Problem, ProblemError, Row
from cmt_cli.data.files.reading import find, read_csv, read_jsonl, sha256_of


def csv_rows(content: bytes | str, folder: Path, required: tuple[str, ...] = ("a",)) -> tuple[list[Row], list[Problem]]:
    path = folder / "rows.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    problems: list[Problem] = []
    return list(read_csv(path, required, problems)), problems


def jsonl_rows(content: bytes | str, folder: Path) -> tuple[list[Row], list[Problem]]:
    path = folder / "rows.jsonl"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    problems: list[Problem] = []
    return list(read_jsonl(path, problems)), problems


def test_csv_values_stay_text_whatever_they_look_like(tmp_path: Path) -> None:
    rows, problems = csv_rows("a,b\nNA,007\nNone,1e5\nnan,\n", tmp_path)
    assert problems == []
    assert [row.values for row in rows] == [{"a": "NA", "b": "007"}, {"a": "None", "b": "1e5"}, {"a": "nan", "b": ""}]


def test_csv_takes_columns_in_any_order_and_extra_ones(tmp_path: Path) -> None:
    rows, problems = csv_rows(",z,a\n0,extra,first\n", tmp_path)
    assert problems == []
    assert rows[0].values["a"] == "first"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_csv_takes_any_line_ending_and_byte_order_mark(tmp_path: Path, newline: str, mark: bytes) -> None:
    rows, problems = csv_rows(mark + f"a{newline}é{newline}".encode(), tmp_path)
    assert problems == []
    assert rows[0].values == {"a": "é"}


def test_csv_row_knows_the_line_it_begins_on(tmp_path: Path) -> None:
    rows, _ = csv_rows('a,b\n"two\nlines",x\n\nlast,y\n', tmp_path)
    assert [row.line for row in rows] == [2, 5]
    assert str(rows[1].problem("is odd")) == f"{tmp_path / 'rows.csv'}:5: is odd"


def test_csv_takes_fields_far_above_the_default_limit(tmp_path: Path) -> None:
    rows, problems = csv_rows("a\n" + "x" * 1_000_000 + "\n", tmp_path)
    assert problems == []
    assert len(rows[0].values["a"]) == 1_000_000


def test_gzip_is_read_whatever_the_file_is_called(tmp_path: Path) -> None:
    rows, problems = csv_rows(gzip.compress(b"a\nvalue\n"), tmp_path)
    assert (rows[0].values, problems) == ({"a": "value"}, [])


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("anwser,b\n1,2\n", 1, "the column 'answer' is missing; there are 'anwser', 'b'. Did you mean 'anwser'?"),
        ("answer,answer\n1,2\n", 1, "the column 'answer' occurs twice"),
        ("answer,b\n1,2\n3\n", 3, "has 1 field where the header has 2"),
        ('answer\n"open\n', 2, "is not valid csv"),
        ("answer\ra\rb", 1, "is not a text file, or its lines end in carriage returns alone; reading"),
        (b"answer\nok\ncaf\xe9\n", 3, "is not UTF-8 (byte 0xe9 at 3 of the line)"),
        ("answer\nok\n".encode("utf-16"), 1, "is UTF-16; save it as UTF-8"),
        (
            gzip.compress(b"answer\n" + b"".join(b"%d\n" % n for n in range(9999)), mtime=0)[:-20],
            None,
            "the gzip data are damaged",
        ),
        ("", None, "is empty"),
        ("answer\n", None, "has no rows"),
    ],
)
def test_each_csv_fault_is_named_with_its_line(
    tmp_path: Path, content: bytes | str, line: int | None, words: str
) -> None:
    _, problems = csv_rows(content, tmp_path, ("answer",))
    found = [problem for problem in problems if words in problem.message]
    assert len(found) == 1
    assert found[0].file == tmp_path / "rows.csv"
    if line is not None:
        assert found[0].line == line


def test_every_line_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    _, problems = csv_rows(b"a\n\xff\nfine\n\xfe\n", tmp_path)
    assert [problem.line for problem in problems] == [2, 4]


def test_a_missing_file_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    problems: list[Problem] = []
    assert list(read_jsonl(tmp_path / "none.jsonl", problems)) == []
    assert "No such file" in problems[0].message


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ('{"a": 1}\n{"a": \n', 2, "is not valid json (Expecting value"),
        ('{"a": 1}\n[1]\n', 2, "must be a json object, not a list"),
        ('{"a": 1}\n\nnull\n', 3, "must be a json object, not null"),
        ("[" * 100_000 + "\n", 1, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}\n", 1, "is not valid json (Exceeds the limit"),
        ("\n\n", None, "is empty"),
    ],
)
def test_each_jsonl_fault_is_named_with_its_line(tmp_path: Path, content: str, line: int | None, words: str) -> None:
    _, problems = jsonl_rows(content, tmp_path)
    assert [problem.line for problem in problems] == [line]
    assert words in problems[0].message


def test_reading_goes_on_after_a_broken_line(tmp_path: Path) -> None:
    rows, problems = jsonl_rows('{"a": 1}\n{broken}\n{"a": 3}\n', tmp_path)
    assert [(row.line, row.values["a"]) for row in rows] == [(1, 1), (3, 3)]
    assert len(problems) == 1


def test_error_shows_three_problems_their_number_and_check_command() -> None:
    problems = [Problem(Path("test.csv"), line, f"fault {line}") for line in range(1, 8)]
    error = ProblemError(problems, name="streamingqa", path=Path("data/s"))
    assert isinstance(error, UserError)
    assert error.problems == tuple(problems)
    assert "7 problems: test.csv:1: fault 1; test.csv:2: fault 2; test.csv:3: fault 3; and 4 more" in str(error)
    assert "`cmt data check streamingqa --path data/s`" in str(error)


def test_the_check_command_repeats_the_data_overrides() -> None:
    error = ProblemError([Problem(Path("a.csv"), 1, "is odd")], name="labelled", path=Path("a.csv"))
    given = ["method=ewc", "data.path=a b.csv", "data.columns.text=message"]
    told = error.of_command("labelled", given)
    assert "`cmt data check labelled 'data.path=a b.csv' data.columns.text=message`" in str(told)
    assert str(pickle.loads(pickle.dumps(told))) == str(told)


def test_only_faulty_files_are_to_be_mended() -> None:
    def told(problem: Problem) -> str:
        return str(ProblemError([problem], name="labelled", path=Path("a.csv")))

    assert "Mend" not in told(Problem(Path("a.csv"), 1, "lacks a column", is_setting=True))
    assert "Mend the files" in told(Problem(Path("a.csv"), 1, "is odd"))
    assert "`iconv -f latin1 -t utf-8 FILE" in told(Problem(Path("a.csv"), 1, "is not UTF-8 (byte 0xfc)"))


def test_the_problems_come_back_whole_from_a_worker_process() -> None:
    error = ProblemError([Problem(Path("a.csv"), 3, "is odd")], name="streamingqa", path=Path("data/s"))
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.problems) == (ProblemError, str(error), error.problems)


def test_a_file_is_found_as_it_is_or_gzipped(tmp_path: Path) -> None:
    (tmp_path / "b.csv.gz").touch()
    assert find(tmp_path, "b.csv") == tmp_path / "b.csv.gz"
    (tmp_path / "b.csv").touch()
    assert find(tmp_path, "b.csv") == tmp_path / "b.csv"
    assert find(tmp_path, "c.csv") is None


def test_the_checksum_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_of(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=400))
def test_arbitrary_bytes_give_rows_or_problems(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    for rows, problems in (csv_rows(content, folder), jsonl_rows(content, folder)):
        assert rows or problems


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_arbitrary_unicode_rows_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    stream = io.StringIO(newline="")
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *values])
    rows, problems = csv_rows(stream.getvalue(), folder, ("a", "b"))
    assert problems == []
    assert [(row.values["a"], row.values["b"]) for row in rows] == values

    lines = "".join(json.dumps({"a": a, "b": b}, ensure_ascii=False) + "\n" for a, b in values)
    rows, problems = jsonl_rows(lines, folder)
    assert problems == []
    assert [(row.values["a"], row.values["b"]) for row in rows] == values


def test_a_quoted_line_break_breaks_no_message(tmp_path: Path) -> None:
    problem = Problem(tmp_path / "rows.json", 1, "the label 'a\nb\r\n' is none of a, b")
    assert str(problem) == rf"{tmp_path / 'rows.json'}:1: the label 'a\nb\r\n' is none of a, b"
