"""Replay on two small tasks: how many old rows a batch gets, which ones, and that no interruption changes them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from cmt_cli.core.batch import Batch
from cmt_cli.core.exceptions import Interrupted, UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.stream import Document, Episodes, Example, Task
from cmt_cli.layers.trainable import Full
from cmt_cli.memory.example_buffer import ExampleBuffer, Herding, PerTask
from cmt_cli.methods.replay.rehearsal import drawn, pooled_features
from cmt_cli.methods.replay.replay import Replay, joined, kept_rows
from cmt_cli.methods.sequential.finetune import FineTune
from tests.training.sessions import MemorySession, budget, trainer

OLD = Task("old", 0, [Example(f"old{i}", f"Question: {i}?\nAnswer:", f" yes {i}") for i in range(6)])
NEW = Task("new", 1, [Document(f"new{i}", f"Resident {i} moved to Turin.").as_example() for i in range(12)])


def replay(buffer: ExampleBuffer | None = None, **changes: object) -> Replay:
    values = {"ratio": 0.2, "budget": "additive", "repeats_new_task": False, "seed": 0, **changes}
    buffer = buffer or PerTask(examples_per_task=4, seed=0)
    return Replay(trainable=Full(num_frozen_blocks=0), buffer=buffer, **values)  # type: ignore[arg-type]


def after_the_first_task(learner: Learner, **changes: Any) -> Replay:
    method = replay(**changes)
    method.before_stream(learner, Episodes(), trainer().bind(learner, method, MemorySession()))
    method.before_task(learner, OLD)
    method.after_task(learner, OLD)
    method.before_task(learner, NEW)
    return method


def new_batch(learner: Learner, num: int) -> Batch:
    return learner.collate([row for example in NEW.train[:num] for row in learner.rows(example)])


def learned(learner: Learner, method: FineTune, sessions: dict[int, MemorySession] | None = None) -> Learner:
    """Run both tasks."""
    method.before_stream(learner, Episodes(), trainer().bind(learner, method, MemorySession()))
    for task in (OLD, NEW):
        learn(learner, method, task, (sessions or {}).get(task.index, MemorySession()))
        method.after_task(learner, task)
    return learner


def learn(learner: Learner, method: FineTune, task: Task, session: MemorySession, **changes: object) -> None:
    method.before_task(learner, task)
    made = trainer(task=budget(num_steps=5, batch_size=4, learning_rate=1e-2), **changes)
    method.learn(learner, task, made.bind(learner, method, session))


def equal(one: Learner, other: Learner) -> bool:
    values = other.state_dict()
    return all(torch.equal(value, values[name]) for name, value in one.state_dict().items())


def test_additive_keeps_the_batch_and_appends_marked_old_rows(any_learner: Learner) -> None:
    batch = new_batch(any_learner, 8)
    mixed = after_the_first_task(any_learner).mix_batch(any_learner, batch)
    assert mixed.ids[:8] == batch.ids and len(mixed.ids) == 10  # 0.2 / 0.8 * 8 = 2
    assert mixed.replayed.tolist() == [False] * 8 + [True] * 2
    length = batch.input_ids.shape[1]
    for name in ("input_ids", "attention_mask", "labels"):
        assert torch.equal(getattr(mixed, name)[:8, :length], getattr(batch, name))
    for i in (8, 9):
        (example,) = (example for example in OLD.train if example.id == mixed.ids[i])
        (row,) = any_learner.rows(example)
        tokens = int(mixed.attention_mask[i].sum())
        assert tuple(mixed.input_ids[i, :tokens].tolist()) == row.input_ids
        assert (mixed.labels[i] != IGNORED).sum() == len(row.input_ids) - row.num_prompt_tokens


def test_compute_equivalent_keeps_the_batch_size(any_learner: Learner) -> None:
    batch = new_batch(any_learner, 10)
    mixed = after_the_first_task(any_learner, budget="compute_equivalent").mix_batch(any_learner, batch)
    assert len(mixed.ids) == 10 and mixed.replayed.tolist() == [False] * 8 + [True] * 2
    kept = mixed.ids[:8]
    assert len(set(kept)) == 8 and set(kept) <= set(batch.ids)
    assert list(kept) == [name for name in batch.ids if name in kept]


def test_a_small_share_is_reached_over_the_steps(tiny_llama: Learner) -> None:
    """1 % in batches of 4: 100 batches have 400 new rows, and 400 * 0.01 / 0.99 = 4.04 old ones belong to them."""
    method = after_the_first_task(tiny_llama, ratio=0.01)
    batch = new_batch(tiny_llama, 4)
    numbers = [int(method.mix_batch(tiny_llama, batch).replayed.sum()) for _ in range(100)]
    assert sum(numbers) == 4 and max(numbers) == 1
    method = after_the_first_task(tiny_llama, ratio=0.3, budget="compute_equivalent")
    numbers = [int(method.mix_batch(tiny_llama, batch).replayed.sum()) for _ in range(10)]
    assert sum(numbers) == 12 and set(numbers) == {1, 2}


def test_old_rows_are_drawn_evenly_and_once_per_step(tiny_llama: Learner) -> None:
    method = after_the_first_task(tiny_llama, ratio=0.5)
    counts: Counter[str] = Counter()
    batch = new_batch(tiny_llama, 2)
    for _ in range(400):
        old = method.mix_batch(tiny_llama, batch).ids[2:]
        assert len(set(old)) == 2
        counts.update(old)
    assert len(counts) == 4  # what the buffer holds, each expected in half of the steps, standard deviation 10
    assert all(abs(count - 200) < 40 for count in counts.values())


def test_drawing_more_rows_than_stored_repeats_all() -> None:
    class First:
        def sample(self, rows: list[str], num: int) -> list[str]:
            return rows[:num]

    assert drawn(["a", "b", "c"], 7, First()) == ["a", "b", "c", "a", "b", "c", "a"]  # type: ignore[list-item, arg-type, comparison-overlap]
    assert drawn([], 3, First()) == []  # type: ignore[arg-type]


def test_the_padding_control_repeats_new_rows_instead(tiny_llama: Learner) -> None:
    method, control = replay(), replay(repeats_new_task=True)
    for one in (method, control):
        one.before_stream(tiny_llama, Episodes(), trainer().bind(tiny_llama, one, MemorySession()))
    for task in (OLD, NEW):
        rows = [row for example in task.train[:5] for row in tiny_llama.rows(example)]
        batch = tiny_llama.collate(rows)
        for one in (method, control):
            one.before_task(tiny_llama, task)
        for _ in range(4):
            mixed, padded = method.mix_batch(tiny_llama, batch), control.mix_batch(tiny_llama, batch)
            assert len(mixed.ids) == len(padded.ids)
            assert set(padded.ids) <= {example.id for example in task.train} and not padded.replayed.any()
        for one in (method, control):
            one.after_task(tiny_llama, task)
    assert len(mixed.ids) > 5
    assert method.storage_bytes() > 0 and control.storage_bytes() == 0


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_ratio_zero_is_fine_tuning_step_by_step(make_learner: Callable[[str], Learner], family: str) -> None:
    plain = learned(make_learner(family), FineTune(trainable=Full(num_frozen_blocks=0)))
    off = learned(make_learner(family), replay(ratio=0.0))
    on = learned(make_learner(family), replay())
    assert equal(plain, off) and not equal(plain, on)


def test_a_resumed_task_is_the_uninterrupted_one(make_learner: Callable[[str], Learner]) -> None:
    learner, method = make_learner("llama"), replay(budget="compute_equivalent")
    expected = learned(learner, method)
    interrupted, first = make_learner("llama"), replay(budget="compute_equivalent")
    session = MemorySession(stop_after=3)
    with pytest.raises(Interrupted):
        learned(interrupted, first, {1: session})
    resumed, second = make_learner("llama"), replay(budget="compute_equivalent")
    second.before_stream(resumed, Episodes(), trainer().bind(resumed, second, MemorySession()))
    learn(resumed, second, OLD, MemorySession())  # in a run, the state after it is restored
    second.after_task(resumed, OLD)
    learn(resumed, second, NEW, MemorySession(session.state))
    second.after_task(resumed, NEW)
    assert equal(expected, resumed)
    assert second.state_dict() == method.state_dict()


def test_state_round_trip(tiny_gpt2: Learner) -> None:
    method = after_the_first_task(tiny_gpt2)
    batch = new_batch(tiny_gpt2, 4)
    method.mix_batch(tiny_gpt2, batch)
    state = json.loads(json.dumps(method.state_dict()))
    other = replay()
    other.before_task(tiny_gpt2, NEW)
    other.load_state_dict(state)
    assert other.mix_batch(tiny_gpt2, batch).ids == method.mix_batch(tiny_gpt2, batch).ids
    texts = [example.prompt + example.target for example in OLD.train]
    assert other.storage_bytes() == sum(sorted(map(len, texts))[:4])  # ASCII texts of one length


def test_features_are_means_over_an_examples_own_tokens(any_learner: Learner) -> None:
    long = Example("long", "", "The bridge was opened in Turin. " * 40)  # several rows
    features = pooled_features(any_learner, [OLD.train[0], long, OLD.train[1]])
    for i, example in ((0, OLD.train[0]), (1, long)):
        states = []
        for row in any_learner.rows(example):
            with torch.no_grad():
                out = any_learner.model(torch.tensor([row.input_ids]), output_hidden_states=True)
            states.append(out.hidden_states[-1][0])
        torch.testing.assert_close(features[i], torch.cat(states).mean(dim=0), rtol=1e-4, atol=1e-5)
    assert len(any_learner.rows(long)) > 1


def test_herding_is_fed_by_the_model(tiny_gpt2: Learner) -> None:
    method = after_the_first_task(tiny_gpt2, buffer=Herding(examples_per_task=2, seed=0))
    assert len(method.buffer.entries) == 2
    assert {entry.example.id for entry in method.buffer.entries} <= {example.id for example in OLD.train}


def test_batches_are_cut_and_joined_by_hand() -> None:
    def batch(name: str, tokens: list[list[int]], replayed: bool) -> Batch:
        ids = torch.tensor(tokens)
        rows = len(tokens)
        return Batch((name,) * rows, ids, torch.ones_like(ids), ids.clone(), torch.full((rows,), replayed))

    first, second = batch("new", [[5, 6, 7], [8, 9, 10]], False), batch("old", [[3, 4]], True)
    mixed = joined(kept_rows(first, [1]), second, pad_id=1)
    assert mixed.ids == ("new", "old") and mixed.replayed.tolist() == [False, True]
    assert mixed.input_ids.tolist() == [[8, 9, 10], [3, 4, 1]]
    assert mixed.attention_mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert mixed.labels.tolist() == [[8, 9, 10], [3, 4, IGNORED]]
    assert kept_rows(first, []).input_ids.shape == (0, 3)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(UserError, match=r"must lie in \[0, 1\)"):
        replay(ratio=1.0)
    with pytest.raises(UserError, match="Did you mean 'additive'"):
        replay(budget="aditive")
