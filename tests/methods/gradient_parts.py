"""What tests of gradient methods share: two labelled tasks, a run over them as the runner makes it, a killed run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.exceptions import Interrupted
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import Fit
from cmt_cli.core.stream import Document, Episodes, Example, Task
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.layers.trainable import Full
from cmt_cli.methods.sequential.finetune import FineTune
from cmt_cli.running.restore import FinishedFit
from tests.training.sessions import MemorySession, budget, trainer

FULL = Full(num_frozen_blocks=0)
LORA = Lora(rank=2, alpha=4.0, targets="query_value", seed=0)
TASKS = [
    Task(
        "places",
        0,
        [
            Example("a", "Question: Where does Ada work?\nAnswer:", " in London"),
            Example("b", "Where?", " Turin"),
            Document("c", "The mayor of Turin opened the bridge in 2019.").as_example(),
        ],
    ),
    Task(
        "names",
        1,
        [
            Example("d", "Question: Who opened the bridge over the river?\nAnswer:", " the mayor"),
            Example("e", "Who?", " Mara Oduya"),
            Document("f", "Ines lives in Porto.").as_example(),
        ],
    ),
]


def fit(learner: Learner, method: Method, session: MemorySession | None = None) -> Fit:
    made = trainer(task=budget(num_steps=3, batch_size=3, learning_rate=1e-2), micro_batch_size=2)
    return made.bind(learner, method, session or MemorySession())


def learn(learner: Learner, method: Method, task: Task, session: MemorySession | None = None) -> MemorySession:
    session = session or MemorySession()
    method.before_task(learner, task)
    method.learn(learner, task, fit(learner, method, session))
    method.after_task(learner, task)
    return session


def run(learner: Learner, method: Method, tasks: Sequence[Task] = TASKS) -> list[MemorySession]:
    method.before_stream(learner, Episodes(), fit(learner, method))
    return [learn(learner, method, task) for task in tasks]


def batch_of(learner: Learner, task: Task) -> Batch:
    return learner.collate([row for example in task.train for row in learner.rows(example)])


def state(learner: Learner) -> dict[str, Tensor]:
    return learner.state_dict()


def assert_equal_states(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def moved(learner: Learner) -> None:
    """Change every trained parameter, so that a penalty has something to measure."""
    with torch.no_grad():
        for parameter in learner.trainable():
            parameter.mul_(1.1)


def assert_equals_a_second_model(
    learner: Learner, method: Method, name: str, expected: Callable[[Learner, Batch, Outputs], Tensor]
) -> None:
    """A teacher's penalty and its gradient are those that `expected` gives with a real second model.

    `expected` gets the copy that was made after the first task, a batch of the second, and the student's outputs on it.
    The parameters are swapped and used again between forward and backward pass, so the gradient is compared as well.
    """
    (session,) = run(learner, method, TASKS[:1])
    assert name not in session.logged[0][1]
    teacher = learner.frozen_copy()
    moved(learner)
    batch = batch_of(learner, TASKS[1])
    found = []
    ways: list[Callable[[Outputs], Tensor]] = [
        lambda outputs: method.penalties(learner, batch, outputs)[name],
        partial(expected, teacher, batch),
    ]
    for value in ways:
        outputs = learner.forward(batch, hidden_states=True)
        penalty = value(outputs)
        loss = penalty + outputs.token_nll.mean()
        found.append((penalty.detach(), torch.autograd.grad(loss, learner.trainable())))
    (penalty, gradients), (expected_penalty, expected_gradients) = found
    torch.testing.assert_close(penalty, expected_penalty, rtol=1e-4, atol=1e-5)
    for one, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert method.storage_bytes() == sum(4 * p.numel() for p in learner.trainable())


def assert_is_finetuning(make_learner: Callable[[str], Learner], family: str, method: Method) -> None:
    """Two tasks with `method`, which is switched off, end in exactly the parameters of plain fine-tuning."""
    plain, other = make_learner(family), make_learner(family)
    run(plain, FineTune(trainable=FULL))
    run(other, method)
    assert_equal_states(state(other), state(plain))


def assert_survives_a_kill(make_learner: Callable[[str], Learner], make_method: Callable[[], Method]) -> None:
    """A run that is stopped in its second task and taken up by fresh objects ends as one without a stop."""
    whole, first, resumed = (make_learner("llama") for _ in range(3))
    expected = make_method()
    run(whole, expected)

    method = make_method()
    run(first, method, TASKS[:1])
    saved, weights = method.state_dict(), state(first)
    session = MemorySession(stop_after=1)
    method.before_task(first, TASKS[1])
    with pytest.raises(Interrupted):
        method.learn(first, TASKS[1], fit(first, method, session))

    method = make_method()
    method.before_stream(resumed, Episodes(), FinishedFit())
    method.load_state_dict(saved)
    resumed.load_state_dict(weights)
    learn(resumed, method, TASKS[1], MemorySession(session.state))
    assert_equal_states(state(resumed), state(whole))
    assert method.storage_bytes() == expected.storage_bytes()
    ended = expected.state_dict()
    for name, value in method.state_dict().items():
        same = torch.equal(value, ended[name]) if isinstance(value, Tensor) else value == ended[name]
        assert same, name
    assert method.state_dict().keys() == ended.keys()
