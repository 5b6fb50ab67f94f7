"""The rows of experiments/method_table.py: what is run, and the settings that are tried on validation.

Methods that train an adapter share one (LoRA of rank 8 on queries and values).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BASELINE = "lora"  # the fine-tuning that the others are compared with
RATE = "trainer.task.learning_rate"
ADAPTER = "trainable@method.trainable=lora"
SUM = "method.normalize=sum"  # the weights below are of sums over parameters
GENERATION = ("method.generation.ratio=1.0", "method.lm_weight=1.0")


@dataclass(frozen=True, slots=True)
class Row:
    """A method's overrides, and the settings of which validation chooses one; a single one is not swept."""

    method: str
    overrides: tuple[str, ...] = ()
    settings: tuple[tuple[str, ...], ...] = ((),)

    def as_overrides(self, setting: Sequence[str]) -> list[str]:
        """Return the arguments of `cmt run` that this row and one of its settings stand for."""
        return [f"method={self.method}", *self.overrides, *setting]


def over(key: str, *values: str) -> tuple[tuple[str, ...], ...]:
    """Return one setting for each value of a key."""
    return tuple((f"{key}={value}",) for value in values)


def tuned(key: str, *pairs: tuple[str, str]) -> tuple[tuple[str, ...], ...]:
    """Return one setting for each pair of a learning rate and a value of a key."""
    return tuple((f"{RATE}={rate}", f"{key}={value}") for rate, value in pairs)


def rates(*values: str) -> tuple[tuple[str, ...], ...]:
    """Return one setting for each learning rate."""
    return over(RATE, *values)


SLOW, FAST = "1.0e-3", "3.0e-3"  # of adapters; the slow one is best for fine-tuning, penalties may want the fast one
ROWS: Mapping[str, Row] = {
    "frozen": Row("frozen"),
    "in_context": Row("in_context", (), over("method.choice", "random", "similar")),
    "finetune": Row("finetune", (), rates("3.0e-4", "1.0e-3")),
    "lora": Row("lora", (), rates(SLOW, FAST, "1.0e-2")),
    "joint": Row("joint", (ADAPTER,), rates(SLOW, FAST)),
    "single_task": Row("single_task", (ADAPTER, f"{RATE}={FAST}")),
    "freeze_bottom": Row("freeze_bottom", (), rates("3.0e-4", "1.0e-3")),
    "inc_lora": Row("inc_lora", (), rates(SLOW, FAST)),
    "seq_star": Row("seq_star", (ADAPTER, f"{RATE}={FAST}"), over("method.head.kind", "cosine", "linear")),
    "replay": Row("replay", (ADAPTER, "method.ratio=0.25"), rates(SLOW, FAST)),
    "replay of new rows": Row(
        "replay", (ADAPTER, "method.ratio=0.25", "method.repeats_new_task=true"), rates(SLOW, FAST)
    ),
    "generative_replay": Row("generative_replay", (ADAPTER, *GENERATION), rates(SLOW, FAST)),
    "agem": Row("agem", (ADAPTER,), rates(SLOW, FAST)),
    "gem": Row("gem", (ADAPTER, f"{RATE}={FAST}"), over("method.margin", "0.0", "0.5")),
    "l2": Row("l2", (ADAPTER, SUM), tuned("method.weight", (SLOW, "0.1"), (FAST, "0.1"), (FAST, "1.0"))),
    "ewc": Row(
        "ewc", (ADAPTER, SUM), tuned("method.weight", (SLOW, "1e3"), (FAST, "1e3"), (FAST, "1e4"), (FAST, "1e5"))
    ),
    "mas": Row(
        "mas",
        (ADAPTER, SUM),
        tuned("method.weight", (SLOW, "0.1"), (FAST, "0.1"), (FAST, "1.0"), (FAST, "0.01"), (FAST, "0.001")),
    ),
    "feature_regularization": Row(
        "feature_regularization", (ADAPTER,), tuned("method.weight", (SLOW, "1.0"), (FAST, "1.0"), (FAST, "10.0"))
    ),
    "distillation": Row(
        "distillation", (ADAPTER,), tuned("method.weight", (SLOW, "1.0"), (FAST, "1.0"), (FAST, "3.0"))
    ),
    "distillation_old": Row("distillation_old", (ADAPTER,), rates(SLOW, FAST)),
    "der": Row("der", (ADAPTER,), tuned("method.alpha", (SLOW, "0.3"), (FAST, "0.3"), (FAST, "0.03"))),
    "derpp": Row("derpp", (ADAPTER,), tuned("method.alpha", (SLOW, "0.3"), (FAST, "0.3"))),
    "distillation_pseudo": Row("distillation_pseudo", (ADAPTER, *GENERATION), rates(SLOW, FAST)),
    "prompt_tuning": Row("prompt_tuning", (), rates("1.0e-2", "3.0e-2", "1.0e-1")),
    "progressive_prompts": Row("progressive_prompts", (), rates("1.0e-2", "3.0e-2", "1.0e-1")),
    "prompt_pool": Row("prompt_pool", (), rates("1.0e-2", "3.0e-2", "1.0e-1")),
    "prefix_tuning": Row("prefix_tuning", (), rates("1.0e-2", "3.0e-2", "1.0e-1")),
    "olora": Row("olora", (), tuned("method.orthogonality", (SLOW, "0.5"), (FAST, "0.5"), (SLOW, "5.0"))),
    "adapters": Row("adapters", (), tuned("method.learns_questions", (SLOW, "false"), (FAST, "false"), (FAST, "true"))),
    "moe": Row("moe", (), tuned("method.output_regularization", (SLOW, "0.0"), (FAST, "0.0"), (FAST, "1.0"))),
    "model_expansion": Row("model_expansion", (), rates("3.0e-4", "1.0e-3")),
    "slao": Row("slao", (), rates(SLOW, FAST)),
    "osf": Row("osf", (), rates("3.0e-4", "1.0e-3")),
}
