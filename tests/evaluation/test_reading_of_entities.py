"""Entities as the text that a model is trained to give, and what is read from the text that it gives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.spans import Entity, entity_answer, read_entities, spans


def test_marks_inside_an_entity_are_escaped() -> None:
    work = Entity("a:b;c", "Faust; a \\ tragedy: part 1")
    assert entity_answer([work]) == r"a\:b\;c: Faust\; a \\ tragedy: part 1"
    assert read_entities(entity_answer([work])) == ([work], 0)


TEXT = st.text(st.sampled_from("ab;:\\ .\n"), min_size=1, max_size=8).filter(str.strip)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=4))
def test_every_answer_is_read_back_but_for_white_space(pairs: list[tuple[str, str]]) -> None:
    entities = [Entity(*pair) for pair in pairs]
    expected = [Entity(" ".join(e.type.split()), " ".join(e.words.split())) for e in entities]
    assert read_entities(entity_answer(entities)) == (expected, 0)


@given(st.text(st.sampled_from("nonea;:\\ .\n")))
def test_no_text_breaks_the_reader(answer: str) -> None:
    entities, malformed = read_entities(answer)
    assert all(entity.type and entity.words for entity in entities)
    assert len(entities) + malformed <= answer.count(";") + answer.count("\n") + 1


@pytest.mark.parametrize(
    ("answer", "entities", "malformed"),
    [
        ("", [], 0),
        (" None ", [], 0),
        ("Person:Ada\nCITY : Turin ;", [("person", "Ada"), ("city", "Turin")], 0),
        ("person: Ada; Turin; : Lagos; city:", [("person", "Ada")], 3),
        ("time: 10:30", [("time", "10:30")], 0),
        ("path: C:\\dir\\", [("path", "C:\\dir\\")], 0),
        ("person: None", [("person", "None")], 0),
    ],
)
def test_answers_are_read_as_models_write_them(answer: str, entities: list[tuple[str, str]], malformed: int) -> None:
    assert read_entities(answer) == ([Entity(*pair) for pair in entities], malformed)


def test_an_entity_without_words_cannot_be_written() -> None:
    with pytest.raises(UserError, match="type and words, but there is 'person'"):
        entity_answer([Entity("person", " ")])


def test_what_is_no_tag_is_refused() -> None:
    with pytest.raises(UserError, match="'X-P' is no tag"):
        spans(["O", "X-P"])
    with pytest.raises(UserError, match="'B-' is no tag"):
        spans(["B-"])
