"""The generated intents: classes, sizes and people."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.labelled.items import SplitPolicy
from cmt_cli.data.world.intents import ACTS, Intents
from cmt_cli.data.world.names import names_of_share

SIZES = Intents(num_train=6, num_validation=2, num_test=3, seed=0)


def test_every_class_has_as_many_examples_in_each_split() -> None:
    corpus = SIZES.corpus()
    for split, number in (("train", 6), ("validation", 2), ("test", 3)):
        counts = Counter(item.labels[0] for item in corpus.splits[split])
        assert len(counts) == 32 and set(counts.values()) == {number}
    assert len({item.task for item in corpus.splits["train"]}) == 8
    assert {item.labels[0].split()[0] for item in corpus.splits["train"]} == set(ACTS)


def test_an_item_depends_on_its_own_number_alone() -> None:
    more = Intents(num_train=9, num_validation=2, num_test=3, seed=0).corpus().splits["train"]
    fewer = SIZES.corpus().splits["train"]
    assert [item for item in more if item.id in {one.id for one in fewer}] == fewer
    assert Intents(num_train=6, num_validation=2, num_test=3, seed=1).corpus().splits["train"] != fewer


def test_every_text_names_a_person_of_its_own_split() -> None:
    splits = SIZES.corpus().splits
    for split, share in (("train", 1), ("validation", 2), ("test", 3)):
        names = {name.full for name in names_of_share(share)}
        for item in splits[split]:
            words = item.fields["text"].replace(",", "").split()
            assert any(f"{first} {last}" in names for first, last in pairwise(words)), item


def test_no_text_is_asked_in_two_splits() -> None:
    clean = SplitPolicy(validation_share=0.1, overlap="error", seed=0).applied(SIZES.corpus())
    assert clean.splits["test"] == SIZES.corpus().splits["test"]


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.generated\.num_test=0 is too small"):
        Intents(num_train=1, num_validation=1, num_test=0, seed=0)
