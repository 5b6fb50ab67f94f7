"""Learning-rate schedules as a pure function of the step, and the check of a budget's values.

Warm-up rises linearly and ends at 1 after `warmup_fraction` of all steps; step 0 has a
positive rate, so no step is idle.
"""

from __future__ import annotations

import math

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import Budget
from cmt_cli.core.setting_checks import one_of

SCHEDULES = ("constant", "linear", "cosine")


def lr_factor(step: int, num_steps: int, *, schedule: str, warmup_fraction: float) -> float:
    """Return the factor on the peak learning rate for `step` (from 0) of `num_steps`, in (0, 1]."""
    warmup_steps = round(warmup_fraction * num_steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return 1.0 - progress if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))


def peak_rate(budget: Budget, method: Method) -> float:
    """Return a budget's peak learning rate, the method's where it is open; raise UserError where neither has one."""
    rate = method.learning_rate if budget.learning_rate is None else budget.learning_rate
    if rate is None:
        raise UserError(
            f"The learning rate is null, and {type(method).__name__} has none of its own for what it trains. Give one: "
            "trainer.task.learning_rate=3.0e-4 (trainer.meta.learning_rate for meta-training)."
        )
    if not 0 <= rate < math.inf:
        raise UserError(f"method.trainable.learning_rate={rate}, but it must be a finite number of at least 0.")
    return rate


def check_budget(budget: Budget, name: str) -> Budget:
    """Return `budget`; raise UserError naming the first value that cannot work. `name` is its key in the config."""
    if (budget.num_epochs is None) == (budget.num_steps is None):
        raise UserError(
            f"{name}: num_epochs={budget.num_epochs}, num_steps={budget.num_steps}. "
            "Exactly one of the two must be a number and the other null."
        )
    length = budget.num_steps if budget.num_epochs is None else budget.num_epochs
    rate = 0.0 if budget.learning_rate is None else budget.learning_rate  # null is the method's, see `peak_rate`
    for key, value in (("num_epochs / num_steps", length), ("learning_rate", rate)):
        if value is None or not 0 <= value < math.inf:
            raise UserError(f"{name}: {key}={value}, but it must be a finite number of at least 0.")
    if budget.batch_size < 1:
        raise UserError(f"{name}.batch_size={budget.batch_size}, but a batch holds at least one item.")
    if not 0.0 <= budget.warmup_fraction <= 1.0:
        raise UserError(f"{name}.warmup_fraction={budget.warmup_fraction}, but it is a share of all steps: 0 to 1.")
    if not budget.max_grad_norm > 0.0:
        raise UserError(
            f"{name}.max_grad_norm={budget.max_grad_norm}, but it must be above 0; .inf turns clipping off."
        )
    one_of(budget.schedule, SCHEDULES, f"{name}.schedule")
    return budget
