"""Fields of records: what is taken, and what is called a problem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cmt_cli.data.files.fields import (
    answers_field,
    date_field,
    id_field,
    iso_date,
    optional_text_field,
    plain_field,
    text_field,
)
from cmt_cli.data.files.problems import Problem, Row


def record(**values: Any) -> Row:
    return Row(values, Path("rows.jsonl"), 7)


def test_text_is_returned_without_the_white_space_around_it() -> None:
    problems: list[Problem] = []
    assert text_field(record(text="  Six.\n"), "text", problems) == "Six."
    assert problems == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"txt": "x"}, "the key 'text' is missing; there are 'txt'. Did you mean 'txt'?"),
        ({"text": " \n"}, "'text' is empty"),
        ({"text": None}, "'text' must be a string, not null"),
        ({"text": ["x"]}, "'text' must be a string, not a list"),
        ({"text": "half \ud800"}, "'text' has half of a surrogate pair (\\ud800 to \\udfff)"),
    ],
)
def test_unusable_text_is_a_problem_at_the_record(values: dict[str, Any], message: str) -> None:
    problems: list[Problem] = []
    assert text_field(record(**values), "text", problems) is None
    assert problems == [Problem(Path("rows.jsonl"), 7, message)]


def test_an_id_may_be_an_integer_but_no_boolean() -> None:
    problems: list[Problem] = []
    assert id_field(record(id=12), "id", problems) == "12"
    assert problems == []
    assert id_field(record(id=True), "id", problems) is None
    assert problems[0].message == "'id' must be a string, not true"


def test_optional_text_may_be_absent_null_or_empty() -> None:
    problems: list[Problem] = []
    for values in ({}, {"title": None}, {"title": " "}):
        assert optional_text_field(record(**values), "title", problems) is None
    assert problems == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2020-05-17", "2020-05-17"),
        ("20200517", "2020-05-17"),
        ("2020-05-17T08:30:00", "2020-05-17T08:30:00"),
        ("2020-05-17T01:30:00+02:00", "2020-05-16T23:30:00"),
        (1582502400, "2020-02-24"),
        ("1582531200", "2020-02-24T08:00:00"),
        (1582531201.0, "2020-02-24T08:00:01"),
    ],
)
def test_dates_become_iso_8601_in_utc(given: object, expected: str) -> None:
    assert iso_date(given) == expected


@pytest.mark.parametrize("given", ["May 17", "2020-13-01", True, [], float("nan"), 10**30, "9" * 5000])
def test_what_is_no_date_is_a_problem(given: object) -> None:
    problems: list[Problem] = []
    assert date_field(record(date=given), "date", problems) is None
    assert "'date' is no date" in problems[0].message


def test_answers_of_several_keys_join_without_repeats_or_blanks() -> None:
    problems: list[Problem] = []
    values = record(answers=["Six.", " ", "Six. "], more=["6"], none=None)
    assert answers_field(values, ("answers", "more", "none"), problems) == ("Six.", "6")
    assert answers_field(record(answers="one"), ("answers",), problems) == ("one",)
    assert problems == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"answers": []}, "the question has no answer"),
        ({"answers": [""]}, "the question has no answer"),
        ({"answers": None}, "the question has no answer"),
        ({"answers": [3]}, "'answers' must be a string or a list of strings, not a number"),
        ({"answer": "x"}, "the key 'answers' is missing; there are 'answer'. Did you mean 'answer'?"),
    ],
)
def test_a_question_without_a_usable_answer_is_a_problem(values: dict[str, Any], words: str) -> None:
    problems: list[Problem] = []
    assert answers_field(record(**values), ("answers",), problems) == ()
    assert [problem.message for problem in problems] == [words]


def test_a_number_that_is_infinite_is_no_text() -> None:
    problems: list[Problem] = []
    assert plain_field(record(answer=1.0), "answer", 1.0, problems) == "1" and problems == []
    assert plain_field(record(answer=1e999), "answer", 1e999, problems) is None
    assert problems[0].message == "'answer' is a number too large to be kept; put it into quotation marks"
