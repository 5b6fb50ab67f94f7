"""Generated translations: dictionaries, grammars, splits and the words that languages share."""

from __future__ import annotations

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.translation.world_translation import (
    GRAMMARS,
    Translations,
    dictionary,
    invented_sentence,
    world_translation,
)
from tests.data.translations import common, generated

WORDS = {"plays": "P", "cello": "C", "keeps": "K", "gecko": "G", "and": "+"}


def stream(order: list[str]) -> Stream:
    return world_translation(**common(order))


@pytest.mark.parametrize(
    ("grammar", "sentence"),
    list(zip(GRAMMARS, ["Ada Alden C P + G K", "P C + K G Ada Alden", "Ada Alden G K + C P"], strict=True)),
)
def test_a_grammar_orders_the_words_of_a_sentence(grammar: str, sentence: str) -> None:
    assert invented_sentence("Ada Alden", [("plays", "cello"), ("keeps", "gecko")], WORDS, grammar) == sentence


def test_dictionaries_map_words_one_to_one_differing_by_language() -> None:
    one, other = dictionary(0, 0), dictionary(1, 0)
    assert len(set(one.values())) == len(one) == 22
    assert sum(one[word] == other[word] for word in one) <= 3


def test_the_target_is_the_source_word_by_word() -> None:
    made = stream(["en-kel", "kel-en"])
    words = dictionary(0, 0)
    for example in made.tasks[0].train:
        english = example.prompt.split(": ")[1].removesuffix(" =").split()
        name, said = english[:2], [word for word in english[2:] if word not in ("a", "the")]
        verb, value, joint, verb2, value2 = (words[word] for word in said)
        assert example.references == (" ".join([*name, value, verb, joint, value2, verb2]),)
    there, back = made.tasks[0].train[3], made.tasks[1].train[3]
    assert there.target.strip() in back.prompt and back.target.strip() in there.prompt


def test_splits_share_no_people_and_sentences_follow_their_number() -> None:
    made = stream(["kel-en"])
    people = [
        {" ".join(e.references[0].split()[:2]) for e in examples}
        for examples in (made.tasks[0].train, made.tasks[0].validation, made.tests[0].examples)
    ]
    assert not people[0] & people[1] and not people[0] & people[2] and not people[1] & people[2]
    more = Translations(directions=["kel-en"], num_train=20, num_validation=4, num_test=6, seed=0).corpus()
    assert more.splits["train"][:12] == generated(["kel-en"]).corpus().splits["train"]


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(UserError, match="num_test=0"):
        Translations(directions=["en-kel"], num_train=1, num_validation=1, num_test=0, seed=0)
