"""What each buffer keeps: exact counts, uniform samples, and the k-means choice on numbers checked by hand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Example
from cmt_cli.memory.example_buffer import (
    ExampleBuffer,
    Herding,
    PerClass,
    PerTask,
    Reservoir,
    Ring,
    herded,
    reservoir_slot,
)


def examples(*names: str) -> list[Example]:
    return [Example(name, f"Q {name}:", f" {name}", references=(name,)) for name in names]


def numbered(start: int, stop: int) -> list[Example]:
    return examples(*map(str, range(start, stop)))


def no_features(chosen: Sequence[Example]) -> Tensor:
    raise AssertionError("this policy does not look at the content")


def value_features(chosen: Sequence[Example]) -> Tensor:
    return torch.tensor([[float(example.id)] for example in chosen])


def ids(buffer: ExampleBuffer) -> list[str]:
    return [entry.example.id for entry in buffer.entries]


def test_a_reservoir_keeps_everything_up_to_its_capacity() -> None:
    buffer = Reservoir(capacity=5, seed=0)
    buffer.add(numbered(0, 3), task=0, features=no_features)
    assert ids(buffer) == ["0", "1", "2"]
    buffer.add(numbered(3, 40), task=1, features=no_features)
    assert len(set(ids(buffer))) == 5
    assert all(entry.task == (int(entry.example.id) >= 3) for entry in buffer.entries)


def test_a_reservoir_ignores_how_the_stream_is_cut() -> None:
    whole, cut = Reservoir(capacity=4, seed=3), Reservoir(capacity=4, seed=3)
    whole.add(numbered(0, 30), task=0, features=no_features)
    for start in range(0, 30, 7):
        cut.add(numbered(start, min(start + 7, 30)), task=0, features=no_features)
    assert ids(whole) == ids(cut)


def test_every_item_of_the_stream_is_kept_equally_often() -> None:
    """2,000 reservoirs of 5 out of 20: each item is expected in 500, with variance 2,000 * 1/4 * 3/4 = 375.

    Counts within a reservoir sum to 5, so sum (count - 500)^2 / 375 * 19/20 has a chi-square law with 19 degrees of
    freedom; its 99.9 % quantile is 43.8.
    """
    counts: Counter[str] = Counter()
    for seed in range(2000):
        buffer = Reservoir(capacity=5, seed=seed)
        buffer.add(numbered(0, 20), task=0, features=no_features)
        counts.update(ids(buffer))
    assert sum(counts.values()) == 10_000
    assert sum((counts[str(i)] - 500) ** 2 for i in range(20)) / 375 * 19 / 20 < 43.8


def test_a_slot_is_drawn_from_all_items_so_far() -> None:
    assert [reservoir_slot(n, 3, "x") for n in range(3)] == [0, 1, 2]
    slots = Counter(reservoir_slot(9, 3, f"seed {i}") for i in range(3000))  # each slot 1/10, dropped 7/10
    assert set(slots) == {None, 0, 1, 2}
    assert all(abs(slots[slot] - 300) < 66 for slot in range(3))  # four standard deviations


def test_per_task_keeps_the_quota_of_each_task() -> None:
    buffer = PerTask(examples_per_task=3, seed=0)
    buffer.add(numbered(0, 10), task=0, features=no_features)
    first = ids(buffer)
    buffer.add(numbered(10, 12), task=1, features=no_features)
    buffer.add(numbered(12, 40), task=2, features=no_features)
    assert Counter(entry.task for entry in buffer.entries) == {0: 3, 1: 2, 2: 3}
    assert ids(buffer)[:3] == first


def test_per_class_keeps_each_targets_quota_across_tasks() -> None:
    def labelled(task: int, label: str, num: int) -> list[Example]:
        return [Example(f"{task}{label}{i}", "Text:", f" {label}") for i in range(num)]

    buffer = PerClass(examples_per_class=2, seed=0)
    buffer.add([*labelled(0, "sport", 5), *labelled(0, "trade", 1)], task=0, features=no_features)
    buffer.add([*labelled(1, "trade", 4), *labelled(1, "law", 3)], task=1, features=no_features)
    assert Counter(entry.example.target for entry in buffer.entries) == {" sport": 2, " trade": 2, " law": 2}


def test_per_class_refuses_texts_without_a_label() -> None:
    buffer = PerClass(examples_per_class=2, seed=0)
    buffer.check(examples("a"))
    with pytest.raises(UserError, match="'doc' is a text without one"):
        buffer.check([*examples("a"), Example("doc", "", "A long text.")])


def test_a_ring_keeps_the_newest() -> None:
    buffer = Ring(capacity=4)
    buffer.add(numbered(0, 3), task=0, features=no_features)
    buffer.add(numbered(3, 6), task=1, features=no_features)
    assert [(entry.example.id, entry.task) for entry in buffer.entries] == [("2", 0), ("3", 1), ("4", 1), ("5", 1)]


def test_herding_takes_the_example_next_to_each_centroid() -> None:
    """Clusters {0, 1, 3} with mean 4/3 and {10, 11, 15} with mean 12: nearest are 1 and 11."""
    for seed in range(5):
        buffer = Herding(examples_per_task=2, seed=seed)
        buffer.add(examples("3", "10", "0", "15", "1", "11"), task=0, features=value_features)
        assert ids(buffer) == ["1", "11"]


def test_herding_keeps_its_quota_of_each_task() -> None:
    buffer = Herding(examples_per_task=2, seed=0)
    buffer.add(examples("3", "10", "0", "15", "1", "11"), task=0, features=value_features)
    buffer.add(examples("7"), task=1, features=value_features)
    buffer.add([], task=2, features=no_features)
    assert ids(buffer) == ["1", "11", "7"]


def test_equal_features_fill_up_in_stream_order() -> None:
    features = torch.tensor([[5.0], [5.0], [5.0], [9.0]])
    chosen = herded(features, 3, torch.Generator().manual_seed(0))
    assert len(chosen) == len(set(chosen)) == 3 and 3 in chosen


def test_fewer_vectors_than_asked_for_are_all_taken() -> None:
    assert herded(torch.tensor([[1.0], [1.0], [4.0]]), 7, torch.Generator().manual_seed(0)) == [0, 1, 2]


def buffers() -> list[ExampleBuffer]:
    return [
        Reservoir(capacity=4, seed=1),
        PerTask(examples_per_task=4, seed=1),
        PerClass(examples_per_class=1, seed=1),
        Ring(capacity=4),
        Herding(examples_per_task=4, seed=1),
    ]


@pytest.mark.parametrize("number", range(5))
def test_a_restored_buffer_goes_on_as_the_first_one(number: int) -> None:
    buffer, restored = buffers()[number], buffers()[number]
    buffer.add(numbered(0, 10), task=0, features=value_features)
    restored.add(numbered(50, 99), task=7, features=value_features)  # newer content is dropped
    restored.load_state_dict(json.loads(json.dumps(buffer.state_dict())))
    assert restored.entries == buffer.entries
    for one in (buffer, restored):
        one.add(numbered(10, 30), task=1, features=value_features)
    assert restored.entries == buffer.entries
    assert restored.state_dict() == buffer.state_dict()


def test_storage_is_the_texts_bytes() -> None:
    buffer = Ring(capacity=2)
    assert buffer.storage_bytes() == 0
    buffer.add([Example("a", "Où?", " là"), Example("b", "", "text")], task=0, features=no_features)
    assert buffer.storage_bytes() == 4 + 4 + 4


def test_a_buffer_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"buffer\.capacity=0, but it must be greater than 0"):
        Reservoir(capacity=0, seed=0)
