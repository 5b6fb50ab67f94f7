"""OSF freezes more directions with each task; with none it is fine-tuning; under Adam only projected steps stay out."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from cmt_cli.config import catalog, compose
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.layers.architecture import linear_layers
from cmt_cli.layers.orthogonal_subspace import split_layers, trained_factors
from cmt_cli.methods.architecture.osf import Osf
from cmt_cli.methods.sequential.finetune import FineTune
from tests.layers.test_orthogonal_subspace import frozen_directions, weights_of
from tests.methods.task_sequences import TASKS, assert_survives_a_kill, learn, logits, same, started
from tests.training.sessions import MemorySession, budget, trainer


def osf(*shares: float, projection: str = "gradients") -> Osf:
    return Osf(targets="all", preserved_shares=shares, projection=projection)


@dataclass(frozen=True)
class Targets:
    """The linear layers' weights, without anything of OSF."""

    learning_rate: float | None = None

    def apply(self, learner: Learner) -> list[nn.Parameter]:
        return learner.unfreeze(f"{name}.weight" for name in linear_layers(learner.model, "all"))


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("projection", ["gradients", "parameters"])
def test_without_frozen_directions_every_step_is_fine_tuning(
    make_learner: Callable[[str], Learner], family: str, projection: str
) -> None:
    learners = [make_learner(family), make_learner(family)]
    for learner, method in zip(learners, (osf(0.0, projection=projection), FineTune(trainable=Targets())), strict=True):
        started(learner, method)
        for task in TASKS:
            learn(learner, method, task)
    assert same(learners[0].state_dict(), learners[1].state_dict())


def test_each_task_freezes_more_directions(tiny_llama: Learner) -> None:
    method = started(tiny_llama, osf(0.25, 0.5))
    ranks = []
    for task in (*TASKS, type(TASKS[1])("west", 2, TASKS[0].train)):
        method.before_task(tiny_llama, task)
        layer = split_layers(tiny_llama.model)["model.layers.0.self_attn.q_proj"]
        ranks.append(trained_factors(layer)[0].shape[1])
        method.after_task(tiny_llama, task)
    assert ranks == [24, 16, 16]  # of 32


@pytest.mark.parametrize("projection", ["gradients", "parameters"])
def test_projected_steps_keep_frozen_directions_which_adam_alone_leaves(any_learner: Learner, projection: str) -> None:
    method = started(any_learner, osf(0.5, projection=projection))
    share = leaked_share(any_learner, method, 0.5)  # 0.03 to 0.04 with projected gradients alone
    assert share < 1e-6 if projection == "parameters" else share > 0.01


def leaked_share(learner: Learner, method: Osf, preserved: float) -> float:
    """Return which share of the squared change of one task lies in the frozen directions."""
    old = weights_of(learner)
    learn(learner, method, TASKS[0])
    leaked, learned = 0.0, 0.0
    for name, weight in weights_of(learner).items():
        change = weight - old[name]
        leaked += float((frozen_directions(old[name], preserved)[0].T @ change).square().sum())
        learned += float(change.square().sum())
    assert learned > 1e-3
    return leaked / learned


def test_as_shipped_it_keeps_the_frozen_directions_under_adam(tiny_llama: Learner) -> None:
    shipped = compose.compose(["method=osf"], [catalog.conf_dir()]).method
    method = osf(*shipped["preserved_shares"], projection=shipped["projection"])
    assert leaked_share(tiny_llama, started(tiny_llama, method), shipped["preserved_shares"][0]) < 1e-6


def test_what_was_learned_stays_after_the_merge(any_learner: Learner) -> None:
    method = started(any_learner, osf(0.3))
    before = logits(any_learner)
    method.before_task(any_learner, TASKS[0])
    with torch.no_grad():
        for parameter in any_learner.trainable():
            parameter.mul_(1.1)
    split = logits(any_learner)
    assert not torch.allclose(split, before, atol=1e-2)
    method.after_task(any_learner, TASKS[0])
    torch.testing.assert_close(logits(any_learner), split, rtol=1e-3, atol=1e-4)
    assert method.storage_bytes() == 0


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("projection", ["gradients", "parameters"])
def test_a_killed_run_continues_bit_for_bit(
    make_learner: Callable[[str], Learner], family: str, projection: str
) -> None:
    assert_survives_a_kill(lambda: make_learner(family), lambda: osf(0.3, 0.5, projection=projection))


def test_settings_that_cannot_work_are_refused() -> None:
    for shares in ((), (0.5, 1.0), (-0.1,)):
        with pytest.raises(UserError, match="preserved_shares"):
            osf(*shares)
    with pytest.raises(UserError, match=r"method\.projection"):
        osf(0.5, projection="weights")


@pytest.mark.parametrize("projection", ["gradients", "parameters"])
def test_it_learns_in_bf16(tiny_llama: Learner, projection: str) -> None:
    method = started(tiny_llama, osf(0.5, projection=projection))
    method.before_task(tiny_llama, TASKS[0])
    session = MemorySession()
    task_budget = budget(num_steps=20, batch_size=2, learning_rate=1e-2)
    made = trainer(task=task_budget, precision="bf16", log_every_steps=1)
    method.learn(tiny_llama, TASKS[0], made.bind(tiny_llama, method, session))
    assert session.logged[-1][1]["loss"] < 0.7 * session.logged[0][1]["loss"]
