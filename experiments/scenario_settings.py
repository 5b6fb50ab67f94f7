"""The rows of experiments/scenario_table.py: streams of five scenarios, and the settings that are tried on validation.

Steps are small batches at a high rate, since the embedded model has to learn each scenario in a few hundred of them.
`finetune`, `replay`, `ewc` and `joint` train all weights, `lora` an adapter on every linear layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from method_settings import RATE, Row, over, rates

FULL = "trainable@method.trainable=full"
LORA = "method.trainable.targets=all"
NUM_TESTS = 50  # questions of each task


@dataclass(frozen=True, slots=True)
class Scenario:
    """A generated stream, what is forgotten in it, and the rate and epochs at which all weights learn it jointly."""

    data: str
    forgotten: str
    overrides: tuple[str, ...]
    rate: str
    num_epochs: int = 1

    @property
    def shared(self) -> tuple[str, ...]:
        """Return the overrides of every run; AA and FGT need no cell above the diagonal."""
        epochs = f"trainer.task.num_epochs={self.num_epochs}"
        return f"data={self.data}", *self.overrides, "trainer.task.batch_size=8", epochs, "evaluator.rows=lower"

    @property
    def rows(self) -> Mapping[str, Row]:
        """Return the methods with their settings; where there are several, validation chooses."""
        return {
            "frozen": Row("frozen"),
            "finetune": Row("finetune", (), rates("3.0e-4", self.rate)),
            "lora": Row("lora", (LORA,), rates("3.0e-3", "1.0e-2")),
            "replay": Row("replay", (f"{RATE}={self.rate}", "method.ratio=0.25")),
            "ewc": Row(
                "ewc",
                (FULL, f"{RATE}={self.rate}", "method.num_samples=64", "method.normalize=sum"),
                over("method.weight", "1e2", "1e4"),
            ),
            "joint": Row("joint", (), rates(str(float(self.rate) / 2), self.rate)),
        }


def tests(train: int) -> tuple[str, ...]:
    """Return the sizes of a task."""
    return (
        f"data.limits.max_train={train}",
        f"data.limits.max_test={NUM_TESTS}",
        f"data.limits.max_validation={NUM_TESTS}",
    )


SCENARIOS: Mapping[str, Scenario] = {
    "classification": Scenario(
        "world_classification",
        "the old tasks' labels, which no text is given any more",
        ("data.num_tasks=4", "data.generated.num_validation=10", *tests(320)),
        "1.0e-3",
    ),
    "entities": Scenario(
        "world_ner",
        "the old types, which the new tasks' sentences mark as no entity",
        ("data.order=[places,work,leisure,home]", "data.generated.num_validation=60", *tests(480)),
        "2.0e-3",
    ),
    "relations": Scenario(
        "world_relations",
        "the old relations, among them the reverse of new ones",
        ("data.generated.num_validation=20", *tests(480)),
        "2.0e-3",
    ),
    "translation": Scenario(
        "world_translation",
        "the old languages' dictionaries, since the same words mean other things in the new one",
        tests(480),
        "3.0e-3",
        num_epochs=2,
    ),
    "instructions": Scenario(
        "world_instructions",
        "which instruction was given, since the newest one's work is done on every text",
        tests(400),
        "2.0e-3",
    ),
}
