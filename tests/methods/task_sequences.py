"""Two tasks, with prompts and without, and the calls that a run makes on a method; for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from cmt_cli.core.exceptions import Interrupted
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method, Trainable
from cmt_cli.core.objectives import State
from cmt_cli.core.stream import Episodes, Example, Task
from cmt_cli.methods.sequential.finetune import FineTune
from tests.training.sessions import MemorySession, budget, trainer

SomeMethod = TypeVar("SomeMethod", bound=Method)
TASKS = [
    Task("north", 0, [Example("a", "Question: Where?\nAnswer:", " Oslo"), Example("b", "", "Ada works in Oslo.")]),
    Task("south", 1, [Example("c", "Question: Where?\nAnswer:", " Accra"), Example("d", "", "Mara works in Accra.")]),
]
TRAINER = trainer(task=budget(num_steps=3, batch_size=2, learning_rate=1e-2))


def started(learner: Learner, method: SomeMethod) -> SomeMethod:
    method.before_stream(learner, Episodes(), TRAINER.bind(learner, method, MemorySession()))
    return method


def learn(learner: Learner, method: Method, task: Task, session: MemorySession | None = None) -> None:
    method.before_task(learner, task)
    method.learn(learner, task, TRAINER.bind(learner, method, session or MemorySession()))
    method.after_task(learner, task)


def logits(learner: Learner) -> Tensor:
    with torch.no_grad():
        return learner.model(input_ids=torch.tensor([[5, 6, 7, 8]])).logits


def same(left: State, right: State) -> bool:
    """Say whether two states are equal, bit for bit."""
    if left.keys() != right.keys():
        return False
    values = [(left[key], right[key]) for key in left]
    return all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in values)


def assert_each_task_is_trained_alone(new_learner: Callable[[], Learner], method: Method, trainable: Trainable) -> None:
    """After each task the model is the base model after fine-tuning on that task alone, bit for bit."""
    learner = new_learner()
    started(learner, method)
    for task in TASKS:
        learn(learner, method, task)
        alone = new_learner()
        learn(alone, started(alone, FineTune(trainable=trainable)), task)
        assert same(learner.state_dict(), alone.state_dict())


def assert_survives_a_kill(new_learner: Callable[[], Learner], new_method: Callable[[], Method]) -> None:
    """Kill a run in its second task; a new process must end with the same learner and method, bit for bit."""
    learner = new_learner()
    method = started(learner, new_method())
    learn(learner, method, TASKS[0])
    saved = {**learner.state_dict()}, {**method.state_dict()}
    learn(learner, method, TASKS[1])
    session = MemorySession(stop_after=2)
    for _ in range(2):
        other = new_learner()
        resumed = started(other, new_method())
        resumed.load_state_dict(saved[1])
        other.load_state_dict(saved[0])
        try:
            learn(other, resumed, TASKS[1], session)
        except Interrupted:
            session = MemorySession(session.state)
    assert session.stop_after is None, "the fit was not stopped"
    assert same(learner.state_dict(), other.state_dict())
    assert same(method.state_dict(), resumed.state_dict())
    assert torch.equal(logits(learner), logits(other))
    assert method.storage_bytes() == resumed.storage_bytes()
