"""A checkpoint inside a fit holds what the fit has changed of the method's state, and no more."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cmt_cli.core.exceptions import Interrupted
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import State
from cmt_cli.training.method_state import MethodState
from tests.training.sessions import MemorySession, budget, trainer
from tests.training.test_trainer import LEARNER, Regression


class Remembering(Method):
    """Keeps a large tensor and texts that no fit changes, and counts something that one does."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {"anchor": torch.arange(6.0), "texts": ["a", "b"], "count": 0, "queue": [1]}

    def state_dict(self) -> State:
        return dict(self.values)

    def load_state_dict(self, state: State) -> None:
        self.values = dict(state)


def test_only_what_changed_is_a_change() -> None:
    method = Remembering()
    state = MethodState(method)
    assert state.changes() == ({}, [])
    method.values["count"] = 3
    method.values["anchor"][2] = -1.0  # in place
    del method.values["queue"]
    changed, gone = state.changes()
    assert changed.keys() == {"count", "anchor"} and gone == ["queue"]


@pytest.mark.parametrize("value", [torch.arange(6).to(torch.bfloat16), torch.arange(6.0).reshape(2, 3)])
def test_another_kind_or_shape_is_a_change(value: torch.Tensor) -> None:
    method = Remembering()
    state = MethodState(method)
    method.values["anchor"] = value
    assert state.changes()[0].keys() == {"anchor"}


def test_changes_are_laid_on_the_state_before() -> None:
    method, resumed = Remembering(), Remembering()
    state = MethodState(method)
    method.values |= {"count": 5, "new": torch.ones(2)}
    del method.values["queue"]
    MethodState(resumed).restore(*state.changes())
    assert resumed.values.keys() == {"anchor", "texts", "count", "new"} and resumed.values["count"] == 5
    assert torch.equal(resumed.values["anchor"], torch.arange(6.0))


def test_a_checkpoint_inside_a_fit_has_no_unchanged_state() -> None:
    session = MemorySession(stop_after=2)
    method = Remembering()
    fit = trainer(meta=budget(num_steps=6)).bind(LEARNER, method, session)
    with pytest.raises(Interrupted):
        fit.on_objective(Regression())
    assert session.state is not None
    assert [key for key in session.state if key.startswith("method")] == ["method_without"]
