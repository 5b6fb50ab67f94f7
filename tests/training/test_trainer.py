"""The loop on a linear regression whose gradient is known, so that each guarantee can be seen alone."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cmt_cli.core.exceptions import Interrupted, NonFiniteLoss, UserError
from cmt_cli.core.layer_checkpoints import LayerCheckpoints
from cmt_cli.core.method import Method
from cmt_cli.core.mixed_precision import MixedPrecision
from cmt_cli.core.objectives import ParamGroup, State
from cmt_cli.core.process_group import SINGLE_PROCESS
from tests.training.sessions import MemorySession, budget, trainer

LEARNER: Any = SimpleNamespace(
    model=torch.nn.Linear(1, 1),
    device=torch.device("cpu"),
    dtype=torch.float32,
    processes=SINGLE_PROCESS,
    mixed_precision=MixedPrecision(),
    layer_checkpoints=LayerCheckpoints(),
)


class Regression:
    """Mean squared error of `x . w` against `y` on twelve fixed items, with noise from the global generator."""

    def __init__(self, *, noise: float = 0.0, fits: int = 99, bad_step: int | None = None) -> None:
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(12, 3, generator=generator)
        self.y = self.x @ torch.tensor([1.0, -2.0, 3.0])
        self.w = nn.Parameter(torch.zeros(3))
        self.slow = nn.Parameter(torch.zeros(()))
        self.noise, self.fits, self.bad_step = noise, fits, bad_step
        self.count = 0
        self.sizes: list[int] = []

    num_items = 12
    is_data_parallel = False
    has_collectives = False

    def lengths(self) -> Sequence[int]:
        return [2] * 12

    def param_groups(self) -> Sequence[ParamGroup]:
        return [ParamGroup([self.w]), ParamGroup([self.slow], lr_multiplier=0.1)]

    def backward(self, items: Sequence[int], *, micro_batch_size: int, step: int, num_steps: int) -> dict[str, Tensor]:
        self.sizes.append(micro_batch_size)
        draw = torch.randn(3)
        total = torch.zeros(())
        for start in range(0, len(items), micro_batch_size):
            part = list(items[start : start + micro_batch_size])
            prediction = self.x[part] @ (self.w + self.noise * draw) + self.slow
            loss = (prediction - self.y[part]).square().sum() / len(items)
            if step == self.bad_step:
                loss = loss * float("inf")
            loss.backward()
            if len(part) > self.fits:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nprocess list")
            total = total + loss.detach()
        return {"loss": total, "squared_error": total}

    def after_step(self, step: int, num_steps: int) -> None:
        self.count += 1

    def state_dict(self) -> State:
        return {"count": self.count}

    def load_state_dict(self, state: State) -> None:
        self.count = state["count"]


def fit(objective: Regression, session: MemorySession, **changes: Any) -> Regression:
    steps = changes.pop("num_steps", 6)
    made = trainer(meta=budget(num_steps=steps, schedule="cosine"), **changes)
    made.bind(LEARNER, Method(), session).on_objective(objective)
    return objective


def test_the_objective_falls() -> None:
    session = MemorySession()
    fit(Regression(), session, num_steps=200)
    assert session.logged[-1][1]["loss"] < 0.01 * session.logged[0][1]["loss"]


def test_first_step_is_adams() -> None:
    objective = fit(Regression(), MemorySession(), max_steps=1)
    # The first step of Adam moves each weight by the learning rate times its group's multiplier.
    torch.testing.assert_close(objective.w.abs(), torch.full((3,), 0.1), atol=1e-5, rtol=0)
    torch.testing.assert_close(objective.slow.abs(), torch.tensor(0.01), atol=1e-5, rtol=0)


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5])
def test_a_resumed_fit_equals_an_uninterrupted_one_exactly(stop_after: int) -> None:
    whole_session, first, second = MemorySession(), MemorySession(stop_after=stop_after), MemorySession()
    whole = fit(Regression(noise=0.3), whole_session, checkpoint_every_seconds=0.0)
    with pytest.raises(Interrupted):
        fit(Regression(noise=0.3), first)
    torch.manual_seed(123)  # another process has other generator states
    second.state = first.state
    resumed = fit(Regression(noise=0.3), second, checkpoint_every_seconds=0.0)
    assert torch.equal(whole.w, resumed.w) and torch.equal(whole.slow, resumed.slow)
    assert resumed.count == whole.count == 6
    assert whole_session.state is not None and second.state is not None
    assert whole_session.state.keys() == second.state.keys()
    for name, value in whole_session.state.items():
        other = second.state[name]
        assert torch.equal(value, other) if isinstance(value, Tensor) else value == other, name


def test_a_state_holds_tensors_and_plain_values_only() -> None:
    session = MemorySession()
    fit(Regression(), session, checkpoint_every_seconds=0.0)
    assert session.num_saves == 6 and session.state is not None
    kinds = {type(value) for value in session.state.values()}
    assert kinds <= {torch.Tensor, int, float, str, list}


def test_a_checkpoint_of_another_fit_is_refused() -> None:
    session = MemorySession()
    fit(Regression(), session, checkpoint_every_seconds=0.0)
    with pytest.raises(RuntimeError, match="12 items and 6 steps"):
        fit(Regression(), session, num_steps=7)


def test_micro_batches_do_not_change_the_result() -> None:
    whole = fit(Regression(), MemorySession())
    cut = fit(Regression(), MemorySession(), micro_batch_size=1)
    torch.testing.assert_close(cut.w, whole.w)
    assert set(cut.sizes) == {1}


def test_running_out_of_memory_halves_the_micro_batch() -> None:
    expected = fit(Regression(noise=0.3), MemorySession())
    objective = fit(Regression(noise=0.3, fits=1), MemorySession())
    assert objective.sizes[:4] == [4, 2, 1, 1]
    # The same noise was drawn although the first step took three attempts.
    torch.testing.assert_close(objective.w, expected.w)


def test_a_single_item_too_large_is_a_user_error() -> None:
    with pytest.raises(UserError, match="single items") as caught:
        fit(Regression(fits=0), MemorySession())
    assert "process list" not in str(caught.value)


def test_other_errors_travel() -> None:
    class Broken(Regression):
        def backward(self, *_: Any, **__: Any) -> dict[str, Tensor]:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        fit(Broken(), MemorySession())


def test_a_nonfinite_loss_stops_before_the_step() -> None:
    objective, session = Regression(bad_step=2), MemorySession()
    with pytest.raises(NonFiniteLoss, match="step 3 of 6"):
        fit(objective, session, checkpoint_every_seconds=0.0)
    assert torch.isfinite(objective.w).all()
    assert session.state is not None and session.state["step"] == 2
    assert torch.equal(objective.w.detach(), session.state["optimizer.parameter.0"])


def test_every_step_shows_progress_and_each_second_is_logged() -> None:
    session = MemorySession()
    fit(Regression(), session, num_steps=5)
    assert [done for _, done, _ in session.shown] == [0, 1, 2, 3, 4, 5]
    assert [step for step, _ in session.logged] == [2, 4, 5]
    assert session.logged[-1][1]["tokens"] == 2 * 4 * 5
    assert {"loss", "squared_error", "learning_rate", "gradient_norm"} <= session.logged[0][1].keys()


def test_max_steps_caps_every_fit() -> None:
    assert len(fit(Regression(), MemorySession(), num_steps=50, max_steps=3).sizes) == 3


def test_a_hook_may_fit_once() -> None:
    bound = trainer().bind(LEARNER, Method(), MemorySession())
    bound.on_objective(Regression())
    with pytest.raises(RuntimeError, match="once"):
        bound.on_objective(Regression())


def test_gradients_are_clipped_to_the_global_norm() -> None:
    session = MemorySession()
    objective = Regression()
    made = trainer(meta=budget(num_steps=1, max_grad_norm=1e-12))
    made.bind(LEARNER, Method(), session).on_objective(objective)
    assert session.logged[0][1]["gradient_norm"] > 1.0  # logged before clipping
    assert objective.w.abs().max() < 1e-4  # Adam's epsilon dominates so small a gradient


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"precision": "fp16"}, "loss scaling"),
        ({"precision": "bf61"}, "Did you mean 'bf16'"),
        ({"micro_batch_size": 0}, "micro_batch_size=0"),
        ({"max_steps": -1}, "max_steps=-1"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(UserError, match=part):
        trainer(**changes)


class SlowSession(MemorySession):
    """Steps of one second and saves of `save_seconds`, on a clock of its own."""

    def __init__(self, save_seconds: float) -> None:
        super().__init__()
        self.now, self.save_seconds = 0.0, save_seconds

    def monotonic(self) -> float:
        return self.now

    def progress(self, description: str, done: int, total: int) -> None:
        super().progress(description, done, total)
        self.now += 1.0

    def save(self, state: State) -> None:
        super().save(state)
        self.now += self.save_seconds


@pytest.mark.parametrize(
    ("save_seconds", "num_saves"),
    [
        (0.0, 40),  # every 10 seconds of 400
        (0.5, 40),  # 0.5 / 0.05 = 10
        (4.0, 5),  # after 10, 90, 170, 250 and 330 seconds of steps
    ],
)
def test_saving_takes_five_percent_of_the_time_at_most(
    monkeypatch: pytest.MonkeyPatch, save_seconds: float, num_saves: int
) -> None:
    session = SlowSession(save_seconds)
    monkeypatch.setattr("cmt_cli.training.loop.time", session)
    fit(Regression(), session, num_steps=400, checkpoint_every_seconds=10.0)
    assert session.num_saves == num_saves
    assert session.num_saves * save_seconds <= 0.05 * session.now


def test_bf16_autocast_runs_on_a_cpu_too() -> None:
    objective = fit(Regression(), MemorySession(), precision="bf16")
    assert objective.w.dtype == torch.float32 and objective.w.abs().max() > 0


class Product(Regression):
    """The squared norm of `(w w^T) k` for a matrix `w`, whose gradient is a chain of matrix products."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.w = nn.Parameter(torch.randn(8, 8, generator=generator))
        self.k = torch.randn(8, 8, generator=generator)
        self.forward_dtype = torch.float32

    def backward(self, items: Sequence[int], *, micro_batch_size: int, step: int, num_steps: int) -> dict[str, Tensor]:
        with LEARNER.mixed_precision.autocast(LEARNER.device):
            self.forward_dtype = (self.w @ self.k).dtype
        loss = (self.w @ self.w.T @ self.k).square().sum()
        loss.backward()
        assert self.w.grad is not None
        self.gradient = self.w.grad.clone()
        return {"loss": loss.detach()}


def test_bf16_rounds_forward_passes_alone() -> None:
    exact, mixed = Product(), Product()
    fit(exact, MemorySession(), max_steps=1, precision="fp32")
    fit(mixed, MemorySession(), max_steps=1, precision="bf16")
    assert exact.forward_dtype == torch.float32 and mixed.forward_dtype == torch.bfloat16
    assert torch.equal(mixed.gradient, exact.gradient)
    assert LEARNER.mixed_precision.autocast(LEARNER.device).__class__.__name__ == "nullcontext"  # over with the fit


def test_a_float16_model_is_not_trained() -> None:
    learner: Any = SimpleNamespace(**{**vars(LEARNER), "dtype": torch.float16})
    bound = trainer().bind(learner, Method(), MemorySession())
    with pytest.raises(UserError, match=r"model\.dtype=fp16.*loss scaling.*trainer\.precision=bf16"):
        bound.on_objective(Regression())
