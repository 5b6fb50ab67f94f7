"""Two tasks that pull against each other, and what the tests of A-GEM and GEM do with them."""

from __future__ import annotations

from torch import Tensor

from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Episodes, Example, Task
from cmt_cli.methods.replay.agem import AGem
from cmt_cli.methods.sequential.finetune import FineTune
from cmt_cli.training.gradient_projection import reference_gradient
from tests.training.sessions import MemorySession, budget, trainer


def task(index: int, answer: str) -> Task:
    return Task(answer, index, [Example(f"{answer}{i}", f"Question: {i}?\nAnswer:", f" {answer}") for i in range(6)])


TASKS = [task(0, "yes"), task(1, "no"), task(2, "London")]


def prepared(learner: Learner, method: FineTune) -> None:
    method.before_stream(learner, Episodes(), trainer().bind(learner, method, MemorySession()))


def learn(learner: Learner, method: FineTune, one: Task, session: MemorySession | None = None) -> None:
    method.before_task(learner, one)
    made = trainer(task=budget(num_steps=4, batch_size=3, learning_rate=1e-2))
    method.learn(learner, one, made.bind(learner, method, session or MemorySession()))


def learned(learner: Learner, method: FineTune, num_tasks: int) -> dict[str, Tensor]:
    prepared(learner, method)
    for one in TASKS[:num_tasks]:
        learn(learner, method, one)
        method.after_task(learner, one)
    return learner.state_dict()


def loss_gradient(learner: Learner, one: Task) -> list[Tensor]:
    rows = [row for example in one.train for row in learner.rows(example)]
    return reference_gradient(learner, rows, micro_batch_size=99)


def adjusted(learner: Learner, method: AGem, gradient: list[Tensor]) -> list[Tensor]:
    """Return what the method makes of a gradient."""
    for parameter, value in zip(learner.trainable(), gradient, strict=True):
        parameter.grad = value.clone()
    method.adjust_gradients(learner)
    return [parameter.grad for parameter in learner.trainable() if parameter.grad is not None]
