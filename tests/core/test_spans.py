"""The text form of entities: what is written is read again, whatever the words; tags become spans in every scheme."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.spans import Entity, entity_answer, read_entities, spans, tagged_entities

WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).map(lambda t: " ".join(t.split())).filter(bool)
ENTITIES = st.lists(st.builds(Entity, st.text("ab-;:\\ x", min_size=1).map(str.strip).filter(bool), WORDS), max_size=5)


def test_entities_are_written_in_order_with_their_types() -> None:
    made = [Entity("person", "Ada Moor"), Entity("work", "Tin; a play"), Entity("person", "Ada Moor")]
    assert entity_answer(made) == r"person: Ada Moor; work: Tin\; a play; person: Ada Moor"
    assert entity_answer([]) == "none"
    assert read_entities("none") == ([], 0)


@given(ENTITIES)
def test_what_is_written_is_read_again(entities: list[Entity]) -> None:
    spaced = [Entity(" ".join(entity.type.split()), entity.words) for entity in entities]
    assert read_entities(entity_answer(entities)) == (spaced, 0)


def test_pieces_that_are_no_entities_are_counted() -> None:
    assert read_entities("City: Norvale; Norvale; pet:;") == ([Entity("city", "Norvale")], 2)


@pytest.mark.parametrize(
    "tags",
    [
        "B-a I-a O B-b B-b",  # BIO
        "I-a I-a O I-b B-b",  # IOB1: B only between neighbors of one type
        "B-a E-a O S-b S-b",  # BIOES
        "B-a L-a O U-b U-b",  # BILOU
    ],
)
def test_every_scheme_of_tags_gives_the_same_spans(tags: str) -> None:
    assert spans(tags.split()) == [("a", 0, 2), ("b", 3, 4), ("b", 4, 5)]


def test_the_words_of_an_entity_are_its_tokens() -> None:
    assert tagged_entities(["in", "New", "Kelham"], ["O", "B-city", "I-city"]) == [Entity("city", "New Kelham")]
    with pytest.raises(UserError, match="3 tokens but 1 tag"):
        tagged_entities(["in", "New", "Kelham"], ["O"])
