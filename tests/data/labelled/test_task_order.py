"""Names of labels and tasks mean the same on the command line and in a yaml file, or are refused."""

from __future__ import annotations

from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.labelled.task_order import TaskOrder


def order(given: list[Any]) -> TaskOrder:
    return TaskOrder(order=given, order_seed=None, num_tasks=2, labels_per_task=None)


@pytest.mark.parametrize("words", [["true", "false"], ["True", "False"], ["TRUE", "null"]])
def test_true_false_and_null_are_labels_as_spelled(words: list[str]) -> None:
    values = {"true": True, "false": False, "null": None}
    given = [values[word.lower()] for word in words]
    assert order(given).names(words) == words
    assert order([[given[1]], [given[0]]]).groups(words) == [[words[1]], [words[0]]]


@pytest.mark.parametrize(("read", "typed"), [(False, "no"), (True, "yes"), (8, "010"), (750, "12:30")])
def test_a_word_that_yaml_misreads_is_refused(read: object, typed: str) -> None:
    with pytest.raises(UserError, match="put such names in quotation marks"):
        order([read]).names([typed, "other"])
    assert order([typed]).names([typed, "other"]) == [typed]


@pytest.mark.parametrize(("read", "typed"), [(1e-5, "1e-5"), (1.5, "1.50"), (1000.0, "1e3"), (2.0, "2"), (3, "3")])
def test_a_number_is_the_label_that_spells_it(read: float, typed: str) -> None:
    assert order([read, "no"]).names([typed, "no"]) == [typed, "no"]
    with pytest.raises(UserError, match="which has no training rows"):
        order([7.5]).names(["7.50", "7.500"])  # which of them is meant is not told
