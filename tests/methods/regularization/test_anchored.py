"""The scale of pulls to earlier values: with `mean` neither the size of a model nor that of importances counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.parameter_values import trainable_parameters
from cmt_cli.methods.regularization.anchored import MEAN, SUM, Anchored, anchored_distance, scaled_importance
from cmt_cli.methods.regularization.ewc import EWC
from cmt_cli.methods.regularization.l2 import L2
from cmt_cli.methods.regularization.mas import MAS
from tests.methods.gradient_parts import FULL, TASKS, batch_of, run

PARAMETERS = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([2.0])}
ANCHOR = {"a": torch.tensor([0.0, 1.0]), "b": torch.tensor([5.0])}  # squares 1, 4, 9
EWC_SETTINGS: dict[str, Any] = {"accumulation": "per_task", "gamma": 1.0, "labels": "empirical"}
METHODS: dict[str, Callable[[str], Anchored]] = {
    "l2": lambda normalize: L2(trainable=FULL, weight=2.0, normalize=normalize),
    "mas": lambda normalize: MAS(trainable=FULL, weight=2.0, normalize=normalize, num_samples=8, seed=0),
    "ewc": lambda normalize: EWC(
        trainable=FULL, weight=2.0, normalize=normalize, num_samples=8, seed=0, **EWC_SETTINGS
    ),
}


def test_distances_by_hand() -> None:
    importance = {"a": torch.tensor([6.0, 0.0]), "b": torch.tensor([3.0])}  # mean 3
    assert scaled_importance(importance, normalize=SUM) is importance
    scaled = scaled_importance(importance, normalize=MEAN)
    assert scaled["a"].tolist() == [2.0, 0.0] and scaled["b"].tolist() == [1.0]
    assert anchored_distance(PARAMETERS, ANCHOR, importance, normalize=SUM).item() == 6 * 1 + 3 * 9
    assert anchored_distance(PARAMETERS, ANCHOR, scaled, normalize=MEAN).item() == pytest.approx((2 * 1 + 9) / 3)
    assert anchored_distance(PARAMETERS, ANCHOR, None, normalize=MEAN).item() == pytest.approx(14 / 3)
    free = {**PARAMETERS, "grown": torch.ones(100)}  # without an earlier value: not counted
    assert anchored_distance(free, ANCHOR, None, normalize=MEAN).item() == pytest.approx(14 / 3)
    nothing = {"a": torch.zeros(2)}
    assert scaled_importance(nothing, normalize=MEAN)["a"].tolist() == [0.0, 0.0]


def test_the_mean_does_not_depend_on_the_size() -> None:
    def of_size(copies: int, scale: float) -> float:
        values = [{name: value.repeat(copies) for name, value in v.items()} for v in (PARAMETERS, ANCHOR)]
        importance = {name: scale * value.repeat(copies) for name, value in PARAMETERS.items()}
        weights = scaled_importance(importance, normalize=MEAN)
        return anchored_distance(values[0], values[1], weights, normalize=MEAN).item()

    assert of_size(1000, 1e-6) == pytest.approx(of_size(1, 1.0), rel=1e-5)


@pytest.mark.parametrize("name", list(METHODS))
def test_mean_is_the_sum_over_the_total_importance(make_learner: Callable[[str], Learner], name: str) -> None:
    penalties, methods = {}, {}
    for normalize in (MEAN, SUM):
        learner, methods[normalize] = make_learner("llama"), METHODS[name](normalize)
        run(learner, methods[normalize], TASKS[:1])
        with torch.no_grad():
            for parameter in trainable_parameters(learner).values():
                parameter.mul_(1.1)
        batch = batch_of(learner, TASKS[1])
        penalties[normalize] = methods[normalize].penalties(learner, batch, learner.forward(batch))[name].item()
    state = methods[SUM].state_dict()
    prefix = {"l2": "", "mas": "omega.", "ewc": "fisher.0."}[name]
    weights = [value for key, value in state.items() if prefix and key.startswith(prefix)]
    total = sum(float(w.double().sum()) for w in weights) if prefix else sum(p.numel() for p in learner.trainable())
    assert penalties[MEAN] * total == pytest.approx(penalties[SUM], rel=1e-4)


def test_an_unknown_scale_is_refused() -> None:
    for make in METHODS.values():
        with pytest.raises(UserError, match=r"method\.normalize='meen'.*mean"):
            make("meen")
