"""The rows of experiments/real_table.py: real files, SmolLM2-135M, and the settings that are tried on validation.

Every method but `frozen` trains LoRA adapters of one size and has two settings on validation: two learning rates, or
two values of its own weight. A cell takes about two minutes on two cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from method_settings import Row, rates, tuned

RATES = ("5.0e-4", "2.0e-3")
SIZES = ("data.limits.max_train=160", "data.limits.max_validation=50", "data.limits.max_test=100")
ROWS: Mapping[str, Row] = {
    "frozen": Row("frozen"),
    "finetune": Row("finetune", (), rates(*RATES)),
    "replay": Row("replay", ("method.ratio=0.25",), rates(*RATES)),
    "ewc": Row(
        "ewc",
        ("method.num_samples=64", "method.normalize=sum"),
        tuned("method.weight", (RATES[1], "1e2"), (RATES[1], "1e4")),
    ),
    "olora": Row("olora", (), rates(*RATES)),
    "joint": Row("joint", (), rates(*RATES)),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A stream of real files and what changes from task to task in it."""

    title: str
    changes: str
    overrides: tuple[str, ...]

    @property
    def shared(self) -> tuple[str, ...]:
        """Return the overrides of every run; AA and FGT need no cell above the diagonal."""
        return "model=smollm2_135m", "data.source=real", *self.overrides, *SIZES, "evaluator.rows=lower"

    @property
    def rows(self) -> Mapping[str, Row]:
        """Return the methods with their settings; where there are several, validation chooses."""
        return ROWS


SCENARIOS: Mapping[str, Scenario] = {
    "banking77": Scenario(
        "BANKING77, 5 tasks of 4 intents",
        "class-incremental: the intents; the likeliest of all intents seen so far counts",
        ("data=banking77", "data.num_tasks=5", "data.labels_per_task=4", "data.format.metric=accuracy"),
    ),
    "sentiment_domains": Scenario(
        "sentiment in 4 domains", "domain-incremental: the texts; the labels stay", ("data=sentiment_domains",)
    ),
}
