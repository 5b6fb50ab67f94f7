"""Joint training forgets its own past training, not its data: each task restarts from the base weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Trainable
from cmt_cli.core.stream import Document, Episodes, Task
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.layers.trainable import Full
from cmt_cli.methods.controls.joint import Joint
from tests.training.sessions import MemorySession, budget, trainer

FULL = Full(num_frozen_blocks=0)
LORA = Lora(rank=2, alpha=4.0, targets="query_value", seed=0)
TEXTS = ["Ada works in London.", "Mara moved to Turin in 1987.", "Bo opened the bridge.", "Ines lives in Porto."]


def task(index: int, texts: list[str]) -> Task:
    documents = [Document(f"{index}.{i}", text) for i, text in enumerate(texts)]
    return Task(f"t{index}", index, [d.as_example() for d in documents], documents=documents)


def run(learner: Learner, tasks: list[Task], trainable: Trainable = FULL) -> tuple[Joint, MemorySession]:
    method = Joint(trainable=trainable)
    loop = trainer(task=budget(num_epochs=2, num_steps=None, batch_size=2, learning_rate=1e-3))
    method.before_stream(learner, Episodes(), loop.bind(learner, method, MemorySession()))
    session = MemorySession()
    for one in tasks:
        session = MemorySession()
        method.learn(learner, one, loop.bind(learner, method, session))
    return method, session


@pytest.mark.parametrize(
    "trainable",
    [Full(num_frozen_blocks=0), Lora(rank=2, alpha=4.0, targets="query_value", seed=0)],
    ids=["full", "lora"],
)
def test_two_tasks_equal_their_union_learned_at_once(
    make_learner: Callable[[str], Learner], trainable: Trainable
) -> None:
    apart, together = make_learner("llama"), make_learner("llama")
    _, session = run(apart, [task(0, TEXTS[:2]), task(1, TEXTS[2:])], trainable)
    run(together, [task(0, TEXTS)], trainable)
    assert session.shown[-1][2] == 4  # two epochs of four documents in pairs
    for name, value in apart.state_dict().items():
        assert torch.equal(value, together.state_dict()[name])


def test_state_round_trip_and_bytes(tiny_gpt2: Learner) -> None:
    method, _ = run(tiny_gpt2, [task(0, TEXTS[:2])])
    other = Joint(trainable=FULL)
    other.load_state_dict(method.state_dict())
    assert other.state_dict() == method.state_dict()
    assert other.storage_bytes() == len("".join(TEXTS[:2]))
