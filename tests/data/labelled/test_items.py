"""Honest splits of labelled corpora, and the ways to divide them into tasks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.labelled.items import Item, LabelledCorpus, SplitPolicy, by_label, by_task, label_groups


def item(text: str, label: str = "yes", task: str = "one") -> Item:
    return Item(f"{task}/{text}/{label}", task, {"text": text}, (label,), (label,))


def items(prefix: str, number: int, label: str = "yes", task: str = "one") -> list[Item]:
    return [item(f"{prefix} {i}", label, task) for i in range(number)]


def split_policy(share: float = 0.2, overlap: str = "drop", seed: int = 0) -> SplitPolicy:
    return SplitPolicy(validation_share=share, overlap=overlap, seed=seed)


def corpus(train: list[Item], validation: list[Item], test: list[Item]) -> LabelledCorpus:
    return LabelledCorpus({"train": train, "validation": validation, "test": test}, ())


def texts(of: list[Item]) -> list[str]:
    return [one.fields["text"] for one in of]


def test_honest_splits_pass_unchanged_and_without_notes() -> None:
    given = corpus(items("a", 5), items("b", 2), items("c", 2))
    assert split_policy().applied(given) == given


def test_validation_is_carved_where_upstream_copies_the_test_split() -> None:
    tests = items("c", 3)
    clean = split_policy().applied(corpus(items("a", 10), list(reversed(tests)), tests))
    assert texts(clean.splits["test"]) == texts(tests)
    assert len(clean.splits["validation"]) == 2 and len(clean.splits["train"]) == 8
    assert set(texts(clean.splits["validation"] + clean.splits["train"])) == {f"a {i}" for i in range(10)}
    assert clean.notes == (
        "validation rows of one not used, since they are the test rows",
        "2 validation rows carved from training",
    )


def test_only_tasks_with_copied_validation_get_a_carved_one() -> None:
    train = items("a", 10) + items("b", 10, task="two")
    tests = items("c", 3) + items("d", 3, task="two")
    clean = split_policy().applied(corpus(train, items("c", 3) + items("e", 2, task="two"), tests))
    assert Counter(one.task for one in clean.splits["validation"]) == {"one": 2, "two": 2}
    assert {text[0] for text in texts(clean.splits["validation"])} == {"a", "e"}
    assert clean.notes[0] == "validation rows of one not used, since they are the test rows"


def test_carving_takes_equal_shares_of_every_task_and_label() -> None:
    train = items("a", 50, "yes") + items("b", 20, "no") + items("c", 10, "no", task="two") + items("d", 1, "rare")
    clean = split_policy(share=0.1).applied(corpus(train, [], items("t", 2)))
    counts = Counter((one.task, one.labels[0]) for one in clean.splits["validation"])
    assert counts == {("one", "yes"): 5, ("one", "no"): 2, ("two", "no"): 1}


def test_carved_share_of_small_labels_is_right_on_average() -> None:
    train = [one for n in range(400) for one in items("a", 3, f"label {n}")]
    train = [item(f"{one.labels[0]} {one.fields['text']}", one.labels[0]) for one in train]
    carved = split_policy(share=0.1).applied(corpus(train, [], items("t", 1))).splits["validation"]
    assert 90 <= len(carved) <= 150  # 120 expected, standard deviation 9


def test_a_seed_repeats_the_carving_and_another_draws_others() -> None:
    given = corpus(items("a", 40), [], items("t", 2))
    assert split_policy(seed=1).applied(given) == split_policy(seed=1).applied(given)
    assert split_policy(seed=1).applied(given).splits != split_policy(seed=2).applied(given).splits


def test_rows_with_equal_questions_are_carved_together() -> None:
    train = [item(f"text {i}", label) for i in range(20) for label in ("yes", "no")]
    clean = split_policy().applied(corpus(train, [], items("t", 1)))
    assert clean.splits["validation"]
    assert not set(texts(clean.splits["train"])) & set(texts(clean.splits["validation"]))


def test_a_corpus_of_one_row_keeps_it_for_training() -> None:
    clean = split_policy().applied(corpus([item("a")], [], [item("t")]))
    assert texts(clean.splits["train"]) == ["a"] and clean.splits["validation"] == []


def test_repeated_training_rows_count_once_and_the_first_stays() -> None:
    train = [item("a"), item("b"), item(" A "), item("a", "no")]
    clean = split_policy().applied(corpus(train, [item("v")], [item("t")]))
    assert [(one.fields["text"], one.labels[0]) for one in clean.splits["train"]] == [
        ("a", "yes"),
        ("b", "yes"),
        ("a", "no"),
    ]
    assert clean.notes == ("1 repeated training row left out",)


def overlapping() -> LabelledCorpus:
    train = [item("a"), item("in  TEST"), item("in validation"), item("in test", task="two"), item("z", task="two")]
    return corpus(train, [item("in validation"), item("both")], [item("in test"), item("both"), item("only")])


def test_overlap_up_to_case_and_spaces_is_left_out() -> None:
    clean = split_policy(share=0.5).applied(overlapping())
    assert [one.fields["text"] for one in clean.splits["train"] if one.task == "one"] == ["a"]
    assert sum(one.task == "two" for one in clean.splits["train"] + clean.splits["validation"]) == 2
    assert texts(clean.splits["test"]) == ["in test", "both", "only"]
    assert clean.notes[:2] == (
        "1 validation row left out that is also a test row",
        "2 training rows left out that are also validation or test rows",
    )


def test_an_overlap_set_to_error_is_refused() -> None:
    with pytest.raises(UserError, match="1 validation row is also a test row"):
        split_policy(overlap="error").applied(overlapping())


def test_an_overlap_may_be_kept_and_is_counted() -> None:
    clean = split_policy(overlap="keep").applied(overlapping())
    assert len([one for one in clean.splits["train"] if one.task == "one"]) == 3
    assert clean.notes[:2] == (
        "1 validation row is also a test row",
        "2 training rows are also validation or test rows",
    )


def test_group_tasks_do_not_distinguish_equal_texts() -> None:
    grouped = replace(overlapping(), tasks_are_groups=True)
    clean = split_policy(share=0.5).applied(grouped)
    learned = clean.splits["train"] + clean.splits["validation"]
    assert sorted(texts(learned)) == ["a", "in validation", "z"]
    assert clean.notes[1] == "3 training rows left out that are also validation or test rows"


def test_equal_texts_of_two_groups_are_carved_together() -> None:
    train = [item(f"text {i}", task=task) for i in range(20) for task in ("one", "two")]
    clean = split_policy().applied(replace(corpus(train, [], items("t", 1)), tasks_are_groups=True))
    assert clean.splits["validation"]
    assert not set(texts(clean.splits["train"])) & set(texts(clean.splits["validation"]))


@pytest.mark.parametrize(("share", "overlap"), [(0.0, "drop"), (1.0, "drop"), (0.1, "dropp")])
def test_settings_that_cannot_work_are_refused(share: float, overlap: str) -> None:
    with pytest.raises(UserError, match=r"data\.split_policy"):
        split_policy(share=share, overlap=overlap)


def test_tasks_come_in_the_order_that_is_given() -> None:
    given = {"train": [item("a"), item("b", task="two")], "validation": [], "test": [item("c", task="two")]}
    divided = by_task(given, ["two", "one"])
    assert [name for name, _ in divided] == ["two", "one"]
    assert texts(divided[0][1]["train"]) == ["b"] and texts(divided[0][1]["test"]) == ["c"]
    assert texts(divided[1][1]["train"]) == ["a"] and divided[1][1]["test"] == []


def test_orders_without_rows_are_refused_with_a_working_order() -> None:
    given = {"train": [item("a"), item("b", task="two")]}
    with pytest.raises(UserError, match=r"names six, four, .* set data\.order=\[two,one\]"):
        by_task(given, ["six", "two", "four", "one"])
    with pytest.raises(UserError, match="none twice"):
        by_task(given, ["one", "one"])
    with pytest.raises(UserError, match="at least one task"):
        by_task(given, [])


def test_label_groups_divide_labels_as_evenly_as_possible() -> None:
    labels = [f"l{i}" for i in range(11)]
    groups = label_groups([*labels, "l0"], num_tasks=3, labels_per_task=None, seed=None)
    assert groups == [labels[:3], labels[3:7], labels[7:]]
    shuffled = label_groups(labels, num_tasks=3, labels_per_task=None, seed=1)
    assert sorted(label for group in shuffled for label in group) == sorted(labels) and shuffled != groups
    assert label_groups(labels, num_tasks=2, labels_per_task=3, seed=None) == [labels[:3], labels[3:6]]


@pytest.mark.parametrize(("num_tasks", "labels_per_task"), [(0, None), (12, None), (4, 3)])
def test_more_tasks_than_labels_are_refused(num_tasks: int, labels_per_task: int | None) -> None:
    with pytest.raises(UserError, match=rf"data\.num_tasks={num_tasks}.* does not fit 11 labels"):
        label_groups([f"l{i}" for i in range(11)], num_tasks=num_tasks, labels_per_task=labels_per_task, seed=0)


def test_items_with_ungrouped_labels_belong_to_no_task() -> None:
    given = {"train": [item("a", "x"), item("b", "y"), item("c", "z")], "test": [item("d", "z")]}
    divided = by_label(given, [["z"], ["x"]])
    assert [(name, texts(splits["train"]), texts(splits["test"])) for name, splits in divided] == [
        ("labels_00", ["c"], ["d"]),
        ("labels_01", ["a"], []),
    ]
