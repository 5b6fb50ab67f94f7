"""Tasks of named entities: what a task annotates, how sentences are dealt out, domains without validation rows."""

from __future__ import annotations

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.spans import Entity
from cmt_cli.core.stream import Provenance, Stream
from cmt_cli.data.entities.entity_stream import (
    by_types,
    dealt_greedily,
    domain_stream,
    item_of,
    own_entities,
    tagged,
    type_stream,
)
from cmt_cli.data.files.conll import Sentence
from cmt_cli.data.labelled.items import Item, LabelledCorpus, SplitPolicy
from cmt_cli.data.labelled.labelled_stream import Format, Limits

POLICY = SplitPolicy(validation_share=0.5, overlap="drop", seed=0)
LIMITS = Limits(stream_split="test", max_train=None, max_validation=None, max_test=None, seed=0)
FORMAT = Format(prompt_template="{text}\nEntities:", metric="span_f1", gives_task=False)
PROVENANCE = Provenance("made", "real", "ours")


def item(name: str, *entities: str, task: str = "") -> Item:
    """Return a sentence that names things as type=words."""
    pairs = [tuple(entity.split("=")) for entity in entities]
    tokens = (name, *(word for _, words in pairs for word in words.split()))
    return item_of(Sentence(tokens, tuple(Entity(kind, words) for kind, words in pairs), 1), name, task)


def test_an_item_lists_entities_and_types_in_plain_words() -> None:
    made = item_of(Sentence(("by", "Moor"), (Entity("CHIEF_COOK", "Moor"),), 1), "a", "movie")
    assert made == Item("a", "movie", {"text": "by Moor"}, ("chief cook: Moor",), ("chief cook",))
    assert tagged(made, str.upper) == (["by", "Moor"], ["O", "B-CHIEF_COOK"])
    assert item_of(Sentence(("by",), (), 1), "b", "movie").references == ("none",)


def test_types_of_other_tasks_are_no_entities() -> None:
    made = item("s", "city=Kelham", "pet=gecko", "city=Kelham")
    assert own_entities(made, ["city"]) == ("city: Kelham; city: Kelham",)
    assert own_entities(made, ["pet", "job"]) == ("pet: gecko",)
    assert own_entities(made, ["job"]) == ("none",)


def test_sentences_go_to_their_rarest_types_task_with_room() -> None:
    items = [
        item("0", "a=x", "b=y"),  # b is rarer than a (2 < 5): to b's task
        item("1", "a=x", "c=z"),  # c is the rarest (1)
        item("2", "b=y", "a=x"),  # room of each task: 6 sentences of used types x 1 of 3 types = 2; to b
        item("3", "a=x"),
        item("4", "a=v"),
        item("5", "a=w"),  # a's task is full
        item("6", "unused=x"),
        item("7"),
    ]
    dealt = dealt_greedily(items, [["a"], ["b"], ["c"]])
    assert [[made.id for made in task] for task in dealt] == [["3", "4"], ["0", "2"], ["1"]]


def test_only_training_sentences_may_be_limited_to_one_task() -> None:
    both, only = item("both", "a=x", "b=y"), item("only", "a=x")
    splits = {"train": [both, only], "validation": [both], "test": [both, only]}
    for once, trained in ((True, [["only"], ["both"]]), (False, [["both", "only"], ["both"]])):
        tasks = [task for _, task in by_types(splits, [["a"], ["b"]], once=once)]
        assert [[made.id for made in task["train"]] for task in tasks] == trained
        assert [[made.id for made in task["test"]] for task in tasks] == [["both", "only"], ["both"]]
        assert [[made.id for made in task["validation"]] for task in tasks] == [["both"], ["both"]]
    with pytest.raises(UserError, match="at least one type"):
        by_types(splits, [["a"], []], once=True)


def test_type_streams_tell_each_tasks_types_and_count_omissions() -> None:
    splits = {"train": [item("0", "a=x", "b=y"), item("1", "a=x"), item("2")], "validation": [item("3", "b=y")]}
    splits["test"] = [item("4", "b=y", "a=x")]
    corpus = LabelledCorpus(splits, ())
    stream = type_stream(corpus, PROVENANCE, groups=[["a"], ["b"]], once=True, limits=LIMITS, format=FORMAT)
    assert [[e.target for e in task.train] for task in stream.tasks] == [[" a: x"], [" b: y"]]
    assert [[e.references for e in test.examples] for test in stream.tests] == [[("a: x",)], [("b: y",)]]
    assert stream.tests[0].examples[0].prompt == "4 y x\nEntities:"
    assert [label.strip() for labels in stream.tests[1].labels_by_task for label in labels] == ["a", "b"]
    assert "1 training sentences are in no task" in stream.provenance.note


def domains() -> Stream:
    splits = {
        "train": [item(f"m{i}", "a=x", task="movie") for i in range(4)] + [item("w0", "b=y", task="wnut")],
        "validation": [item("w1", task="wnut")],
        "test": [item("m4", "a=x", task="movie"), item("w2", "a=x", "b=y", task="wnut")],
    }
    corpus = POLICY.applied(LabelledCorpus(splits, ()))
    return domain_stream(corpus, PROVENANCE, order=["wnut", "movie"], limits=LIMITS, format=FORMAT)


def test_domains_keep_all_entities_and_empty_sentences_say_none() -> None:
    stream = domains()
    assert [test.name for test in stream.tests] == ["wnut", "movie"]
    assert stream.tasks[0].validation[0].target == " none"
    assert stream.tests[0].examples[0].references == ("a: x; b: y",)


def test_only_domains_without_validation_rows_lose_training_rows() -> None:
    assert [(len(task.train), len(task.validation)) for task in domains().tasks] == [(1, 1), (2, 2)]
