import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.method import Method
from cmt_cli.layers.trainable import Full, Unchanged
from cmt_cli.methods.combination import Combination
from cmt_cli.methods.regularization.l2 import L2
from cmt_cli.methods.sequential.finetune import FineTune
from cmt_cli.training.schedules import check_budget, lr_factor, peak_rate
from tests.training.sessions import budget


def factors(schedule: str, warmup_fraction: float, num_steps: int) -> list[float]:
    return [lr_factor(step, num_steps, schedule=schedule, warmup_fraction=warmup_fraction) for step in range(num_steps)]


def test_constant_without_warm_up_is_one() -> None:
    assert factors("constant", 0.0, 5) == [1.0] * 5


def test_warm_up_rises_in_equal_parts_to_the_peak() -> None:
    assert factors("constant", 0.5, 8) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_linear_falls_from_one_in_equal_parts() -> None:
    assert factors("linear", 0.0, 4) == [1.0, 0.75, 0.5, 0.25]


def test_cosine_is_at_half_in_the_middle() -> None:
    values = factors("cosine", 0.2, 10)
    assert values[:3] == [0.5, 1.0, 1.0]
    assert values[6] == pytest.approx(0.5)
    assert values == [*values[:3], *sorted(values[3:], reverse=True)]


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("num_steps", [1, 2, 7])
@pytest.mark.parametrize("warmup_fraction", [0.0, 0.05, 1.0])
def test_no_step_is_idle(schedule: str, num_steps: int, warmup_fraction: float) -> None:
    assert all(0.0 < value <= 1.0 for value in factors(schedule, warmup_fraction, num_steps))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"num_epochs": 1.0, "num_steps": 3}, "Exactly one"),
        ({"num_epochs": None, "num_steps": None}, "Exactly one"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"warmup_fraction": 5.0}, "share of all steps"),
        ({"max_grad_norm": 0.0}, "max_grad_norm=0"),
    ],
)
def test_a_budget_that_cannot_work_is_refused(changes: dict[str, object], part: str) -> None:
    with pytest.raises(UserError, match=part):
        check_budget(budget(**changes), "trainer.task")


@pytest.mark.parametrize(("given", "peak"), [(0.2, 0.2), (0.0, 0.0), (None, 0.03)])
def test_an_open_rate_is_that_of_what_is_trained(given: float | None, peak: float) -> None:
    method = FineTune(trainable=Full(num_frozen_blocks=0, learning_rate=0.03))
    assert peak_rate(check_budget(budget(learning_rate=given), "trainer.task"), method) == peak


def test_a_combination_learns_at_its_first_members_rate() -> None:
    first = FineTune(trainable=Full(num_frozen_blocks=0, learning_rate=0.03))
    members = {"a": first, "b": L2(trainable=Unchanged(), weight=1.0, normalize="mean")}
    assert peak_rate(budget(learning_rate=None), Combination(methods=members, order=["a", "b"])) == 0.03


def test_a_rate_that_nobody_has_is_an_error() -> None:
    with pytest.raises(UserError, match=r"Method has none of its own.*trainer\.task\.learning_rate"):
        peak_rate(budget(learning_rate=None), Method())
