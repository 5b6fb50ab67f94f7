"""EWC, MAS, LwF, A-GEM and forgetting against avalanche-lib, on a language model and the same numbers.

avalanche-lib is no dependency: it brings some twenty packages, among them a torchvision that loads only beside the
torch build that it was made for, and it installs top-level packages named `tests` and `examples`. To run this file, use
an environment of its own: `pip install avalanche-lib==0.6.0`, with the torchvision of the same source and release as
torch. Elsewhere it is skipped; closed forms of the same formulas are in `test_closed_forms.py` and always run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmt_cli.core.batch import Row
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.parameter_values import squared_distance, trainable_parameters
from cmt_cli.core.result import ScoreMatrix
from cmt_cli.core.stream import Task
from cmt_cli.evaluation.sequence_metrics import sequence_metrics
from cmt_cli.memory.example_buffer import PerTask
from cmt_cli.methods.distillation.distillation import Distillation
from cmt_cli.methods.regularization.ewc import EWC
from cmt_cli.methods.replay.agem import AGem
from cmt_cli.training.importance import importance, mean_squared_norm
from tests.methods.gradient_parts import FULL, TASKS, batch_of, learn, run
from tests.present import present

try:
    from avalanche.evaluation.metrics.forgetting_bwt import Forgetting
    from avalanche.training.plugins import AGEMPlugin, EWCPlugin, MASPlugin
    from avalanche.training.regularization import LearningWithoutForgetting
except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that does not fit this torch
    pytest.skip(f"avalanche-lib cannot be imported here: {error}", allow_module_level=True)

FAMILIES = ["llama", "gpt2"]


class Scores(nn.Module):
    """A language model as avalanche's kind: from `[batch, 2, seq]`, ids and labels, to the labelled tokens' logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        for module in model.modules():  # some plugins switch to training mode
            if isinstance(module, nn.Dropout):
                module.p = 0.0

    def forward(self, pair: Tensor) -> Tensor:
        ids, labels = pair[:, 0], pair[:, 1]
        return self.model(ids).logits[:, :-1][labels[:, 1:] != IGNORED]


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels[labels != IGNORED])


def pairs(learner: Learner, rows: Sequence[Row]) -> tuple[Tensor, Tensor, int]:
    batch = learner.collate(rows)
    return torch.stack([batch.input_ids, batch.labels], dim=1), batch.labels[:, 1:], 0


def rows_of(learner: Learner, task: Task) -> list[Row]:
    return [row for example in task.train for row in learner.rows(example)]


def strategy(learner: Learner, task: Task, num_tasks: int) -> SimpleNamespace:
    """Return what avalanche's plugins read of a training run; items are single rows, so that batches are of size 1."""
    model = Scores(learner.model)
    items = [(x[0], y[0], t) for x, y, t in (pairs(learner, [row]) for row in rows_of(learner, task))]
    return SimpleNamespace(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        _criterion=loss,
        device=learner.device,
        experience=SimpleNamespace(dataset=items),
        train_mb_size=1,
        clock=SimpleNamespace(train_exp_counter=num_tasks),
        loss=torch.zeros(()),
    )


def moved(learner: Learner) -> None:
    with torch.no_grad():
        for parameter in learner.trainable():
            parameter.mul_(1.05)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("accumulation", ["per_task", "online"])
def test_ewc_importances_and_penalty(make_learner: Callable[[str], Learner], family: str, accumulation: str) -> None:
    learner = make_learner(family)
    online = accumulation == "online"
    method = EWC(
        trainable=FULL,
        weight=2 * 30.0,
        normalize="sum",  # avalanche has no factor 1/2
        accumulation=accumulation,
        gamma=0.9,
        labels="empirical",
        num_samples=99,
        seed=0,
    )
    plugin = EWCPlugin(30.0, mode="online" if online else "separate", decay_factor=0.9 if online else None)
    run(learner, method, TASKS[:1])
    plugin.after_training_exp(strategy(learner, TASKS[0], 0))
    learner.model.eval()
    learn(learner, method, TASKS[1])
    plugin.after_training_exp(strategy(learner, TASKS[1], 1))
    learner.model.eval()
    fisher = method.state_dict()
    for name, value in plugin.importances[1].items():
        ours = fisher[f"fisher.{0 if online else 1}.{name.removeprefix('model.')}"]
        torch.testing.assert_close(ours, value.data, rtol=1e-3, atol=1e-7)

    moved(learner)
    other = strategy(learner, TASKS[1], 2)
    plugin.before_backward(other)
    batch = batch_of(learner, TASKS[1])
    ours = method.penalties(learner, batch, learner.forward(batch))["ewc"]
    torch.testing.assert_close(ours, other.loss, rtol=1e-4, atol=1e-6)
    parameters = learner.trainable()
    for one, two in zip(
        torch.autograd.grad(ours, parameters), torch.autograd.grad(other.loss, parameters), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_mas_importances_and_penalty(make_learner: Callable[[str], Learner], family: str) -> None:
    learner = make_learner(family)
    learner.unfreeze()
    plugin = MASPlugin(lambda_reg=3.0)
    plugin.after_training_exp(strategy(learner, TASKS[0], 0))
    learner.model.eval()
    omega = importance(learner, rows_of(learner, TASKS[0]), mean_squared_norm, torch.abs)
    anchor = {name: p.detach().clone() for name, p in trainable_parameters(learner).items()}
    for name, value in plugin.importance.items():
        torch.testing.assert_close(omega[name.removeprefix("model.")], value.data, rtol=1e-3, atol=1e-4)
    moved(learner)
    other = strategy(learner, TASKS[1], 1)
    other.loss = torch.ones(())
    plugin.before_backward(other)
    ours = 3.0 * squared_distance(trainable_parameters(learner), anchor, omega)
    torch.testing.assert_close(ours, other.loss - 1, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_lwf_loss(make_learner: Callable[[str], Learner], family: str) -> None:
    learner = make_learner(family)
    method = Distillation(trainable=FULL, weight=0.7, temperature=2.0)
    run(learner, method, TASKS[:1])
    theirs = LearningWithoutForgetting(alpha=0.7, temperature=2.0)
    theirs.prev_model = Scores(learner.frozen_copy().model)
    theirs.prev_classes_by_task[0] = set(range(learner.model.config.vocab_size))
    moved(learner)
    batch = batch_of(learner, TASKS[1])
    outputs = learner.forward(batch)
    ours = method.penalties(learner, batch, outputs)["distillation"]
    pair, _, _ = pairs(learner, rows_of(learner, TASKS[1]))
    model = Scores(learner.model)
    expected = theirs(pair, model(pair), model)
    torch.testing.assert_close(ours, 2.0**2 * expected, rtol=1e-4, atol=1e-6)  # avalanche leaves T^2 out
    parameters = learner.trainable()
    for one, two in zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(one, 4 * two, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sign", [-1.0, 1.0], ids=["conflict", "agreement"])
def test_agem_projection(make_learner: Callable[[str], Learner], family: str, sign: float) -> None:
    learner = make_learner(family)
    buffer = PerTask(examples_per_task=99, seed=0)
    method = AGem(trainable=FULL, buffer=buffer, reference_rows=99, micro_batch_size=2, seed=0)
    run(learner, method, TASKS[:1])
    method.before_task(learner, TASKS[1])
    plugin = AGEMPlugin(patterns_per_experience=99, sample_size=99)
    plugin.buffers = [None]
    plugin.sample_from_memory = lambda: pairs(learner, rows_of(learner, TASKS[0]))
    other = strategy(learner, TASKS[1], 1)
    plugin.before_training_iteration(other)
    learner.model.eval()
    generator = torch.Generator().manual_seed(0)
    parameters = learner.trainable()
    start = 0
    gradient = []
    for parameter in parameters:
        part = plugin.reference_gradients[start : start + parameter.numel()].view_as(parameter)
        gradient.append(sign * part + 0.1 * torch.randn(parameter.shape, generator=generator))
        start += parameter.numel()
    found = []
    for adjust in (lambda: method.adjust_gradients(learner), lambda: plugin.after_backward(other)):
        for parameter, value in zip(parameters, gradient, strict=True):
            parameter.grad = value.clone()
        adjust()
        found.append([present(parameter.grad).clone() for parameter in parameters])
    for one, two, value in zip(*found, gradient, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
        assert torch.equal(one, value) == (sign > 0)


def test_forgetting() -> None:
    """Avalanche's forgetting is from the score right after a task to the last one: our bwt with its sign changed."""
    rows = ((0.1, 0.2, 0.3), (0.9, 0.25, 0.3), (0.6, 0.8, 0.35), (0.5, 0.3, 0.7))
    metrics = sequence_metrics(ScoreMatrix(metric="em", tests=("a", "b", "c"), learned_at=(0, 1, 2), rows=rows))
    theirs = Forgetting()
    for task in range(2):
        theirs.update(task, rows[task + 1][task], initial=True)
        theirs.update(task, rows[3][task])
    expected = sum(theirs.result().values()) / 2
    assert metrics["bwt"].value == pytest.approx(-expected)
    assert metrics["fgt"].value == pytest.approx(expected)  # the same where each task's best is its first score
