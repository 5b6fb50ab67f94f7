"""Methods learn the same whether a fit keeps activations or runs layers again, nested checkpoints included."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import Objective
from cmt_cli.core.stream import Episodes
from cmt_cli.layers.injection import KeyValueInjection, SoftInjection
from cmt_cli.layers.trainable import Full
from cmt_cli.memory.example_buffer import PerTask
from cmt_cli.methods.amortized.amortized_method import AmortizedMethod
from cmt_cli.methods.amortized.amortizer import InjectionSettings
from cmt_cli.methods.amortized.camels import WeightModel
from cmt_cli.methods.amortized.camels_objective import CamelsObjective
from cmt_cli.methods.amortized.encoded_batch import make_items
from cmt_cli.methods.amortized.mac import Mac
from cmt_cli.methods.regularization.feature_regularization import FeatureRegularization
from cmt_cli.methods.replay.gem import Gem
from cmt_cli.methods.sequential.finetune import FineTune
from tests.methods.amortized_parts import BANK, Steps, cmt, episodes, parts
from tests.methods.gradient_parts import FULL, LORA, TASKS
from tests.training.sessions import MemorySession, budget, trainer


def mac(injection: InjectionSettings) -> Mac:
    return Mac(parts=parts(injection), hierarchy_window=None, bank=BANK, encode_batch_size=3, seed=0)


AMORTIZED: dict[str, Callable[[], AmortizedMethod]] = {
    "cmt": cmt,
    "keys": lambda: mac(KeyValueInjection(inner_width=8)),
    "soft": lambda: mac(SoftInjection()),
}
GRADIENT: dict[str, Callable[[], Method]] = {
    "lora": lambda: FineTune(trainable=LORA),
    "features": lambda: FeatureRegularization(trainable=FULL, weight=0.7, layers=(0, -1), distance="mse"),
    "gem": lambda: Gem(
        trainable=Full(num_frozen_blocks=0),
        buffer=PerTask(examples_per_task=6, seed=0),
        reference_rows=6,
        micro_batch_size=4,
        margin=0.0,
        seed=0,
    ),
}


def gradients(learner: Learner, objective: Objective, module: nn.Module, size: int, again: bool) -> dict[str, Tensor]:
    module.zero_grad()
    with learner.layer_checkpoints.using(again):
        objective.backward(range(5), micro_batch_size=size, step=3, num_steps=9)
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys() and one
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("micro_batch_size", [5, 2])
@pytest.mark.parametrize("name", AMORTIZED)
def test_meta_training_has_the_same_gradient(tiny_llama: Learner, name: str, micro_batch_size: int) -> None:
    method = AMORTIZED[name]()
    method.before_stream(tiny_llama, episodes(), Steps(2))
    objective = method.objective(tiny_llama, make_items(tiny_llama, method.amortizer, episodes().train, 0))
    kept, again = (
        gradients(tiny_llama, objective, method.amortizer, micro_batch_size, again) for again in (False, True)
    )
    assert_same(kept, again)


def test_weights_that_stand_in_for_the_models_are_kept(tiny_llama: Learner) -> None:
    model = WeightModel(tiny_llama.frozen_copy(), rank=2, alpha=4.0, targets="all", head_width=8, seed=0)
    with torch.no_grad():
        model.fc2.weight.fill_(0.1)
    objective = CamelsObjective(
        tiny_llama,
        model,
        episodes().train,
        inner_learning_rate=0.1,
        num_inner_documents=3,
        max_inner_tokens=64,
        locality_weight=0.1,
        seed=0,
    )
    kept, again = (gradients(tiny_llama, objective, model, 5, again) for again in (False, True))
    assert_same(kept, again)


@pytest.mark.parametrize("name", GRADIENT)
def test_fits_end_at_the_same_weights(make_learner: Callable[[str], Learner], name: str) -> None:
    ends = []
    for again in (False, True):
        learner, method = make_learner("llama"), GRADIENT[name]()
        made = trainer(
            task=budget(num_steps=3, batch_size=3, learning_rate=1e-2), micro_batch_size=2, checkpoint_layers=again
        )
        method.before_stream(learner, Episodes(), made.bind(learner, method, MemorySession()))
        for task in TASKS:
            method.before_task(learner, task)
            method.learn(learner, task, made.bind(learner, method, MemorySession()))
            method.after_task(learner, task)
        ends.append(learner.state_dict())
    assert_same(*ends)
