"""Rows of each relation divided by count: hand-counted sizes, small relations, and mentions among tokens."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.labelled.items import Item, LabelledCorpus
from cmt_cli.data.relations.relation_split import RelationSplit, positions_of, tokens_of

FEWREL = RelationSplit(num_train=420, num_validation=140, num_test=140, max_held_out_share=0.2, seed=0)
TACRED = RelationSplit(num_train=320, num_validation=0, num_test=40, max_held_out_share=0.2, seed=0)


def corpus(**rows: int) -> LabelledCorpus:
    items = [
        Item(f"{name}-{i}", "", {"text": f"{name} {i}"}, (name,), (name,))
        for name, number in rows.items()
        for i in range(number)
    ]
    return LabelledCorpus({"train": items}, ())


def sizes(split: RelationSplit, **rows: int) -> dict[str, tuple[int, int, int]]:
    counts = {name: Counter(i.labels[0] for i in items) for name, items in split.applied(corpus(**rows)).splits.items()}
    return {name: (counts["train"][name], counts["validation"][name], counts["test"][name]) for name in rows}


def test_relations_are_divided_by_counts_small_ones_in_proportion() -> None:
    assert sizes(FEWREL, whole=700, trimmed=200, more=900) == {
        "whole": (420, 140, 140),
        "trimmed": (120, 40, 40),
        "more": (420, 140, 140),
    }


def test_a_fifth_is_tested_the_rest_trained_within_caps() -> None:
    assert sizes(TACRED, large=2000, middle=300, small=9, tiny=3) == {
        "large": (320, 0, 40),
        "middle": (260, 0, 40),
        "small": (8, 0, 1),
        "tiny": (3, 0, 0),
    }


def test_splits_share_no_row_and_follow_the_seed() -> None:
    rows = corpus(a=50, b=30)
    first = FEWREL.applied(rows).splits
    ids = [item.id for items in first.values() for item in items]
    assert sorted(ids) == sorted(item.id for item in rows.splits["train"])
    random.random()  # a draw from the global generator changes nothing
    assert FEWREL.applied(rows).splits == first
    other = RelationSplit(num_train=420, num_validation=140, num_test=140, max_held_out_share=0.2, seed=1)
    assert other.applied(rows).splits != first


def test_the_note_says_when_splits_were_scaled() -> None:
    assert FEWREL.applied(corpus(a=700)).notes == ("each relation's rows divided into 420/140/140",)
    (note,) = FEWREL.applied(corpus(a=700, b=200, c=100)).notes
    assert note.endswith("scaled for 2 of 3 relations with fewer rows (the smallest to 60/20/20)")


@pytest.mark.parametrize("name", ["num_train", "num_test"])
def test_a_split_of_no_rows_is_refused(name: str) -> None:
    counts = {"num_train": 1, "num_validation": 0, "num_test": 1, name: 0}
    with pytest.raises(UserError, match=f"data.split.{name}=0"):
        RelationSplit(**counts, max_held_out_share=0.2, seed=0)


def test_a_share_leaving_no_training_rows_is_refused() -> None:
    with pytest.raises(UserError, match="max_held_out_share"):
        RelationSplit(num_train=1, num_validation=1, num_test=1, max_held_out_share=0.5, seed=0)


def test_mentions_are_found_among_the_tokens_of_texts() -> None:
    tokens = tokens_of("Otto Dale's pet, a gecko, eats.")
    assert tokens == ["Otto", "Dale", "'s", "pet", ",", "a", "gecko", ",", "eats", "."]
    assert positions_of("Otto Dale", tokens) == [0, 1] and positions_of("gecko", tokens) == [6]
    with pytest.raises(ValueError, match="owl"):
        positions_of("owl", tokens)
