"""What a method adds to a training step: the time of its steps in the third task over those of plain fine-tuning.

    python perf/methods.py              # writes perf/results/methods.{md,json}; about 10 minutes
    python perf/methods.py --only ewc   # some methods

`data=world_skills` with `model=tiny`, batches of 16. Two short tasks come first, so that memories, teachers and anchors
are there. The method and fine-tuning of the same parameters (an adapter, or all weights) take turns in short rounds,
and the best round of each counts; CPU seconds of the process, which a busy machine disturbs least. `rows` is how many
rows a step sees for one new row: replay is allowed its ratio of time. A teacher's forward pass is a third of a step
that trains all weights, and half of one that trains an adapter, whose backward pass has no gradients of the weights.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from parts import NoTraining, configured, set_up
from reporting import machine_line, note, parser, table, write

from cmt_cli.core.batch import Batch
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import State
from cmt_cli.core.stream import Task
from cmt_cli.running.job import Job

BESIDE = {"lora": "trainable@method.trainable=lora", "finetune": "trainable@method.trainable=full"}
ON_ADAPTER = (
    "replay generative_replay agem gem l2 ewc mas feature_regularization distillation distillation_old der derpp "
    "distillation_pseudo inc_lora olora slao moe adapters prompt_tuning prefix_tuning progressive_prompts prompt_pool"
).split()
ON_ALL_WEIGHTS = "feature_regularization distillation freeze_bottom model_expansion osf".split()
OWN = {"inc_lora", "olora", "slao", "moe", "adapters", "prompt_tuning", "prefix_tuning", "progressive_prompts"}
OWN |= {"prompt_pool", "freeze_bottom", "model_expansion", "osf"}  # these choose themselves what they train
NUM_PAST_TASKS = 2
WARM_UP = 2  # steps at the start of each round that are not counted


class Session:
    """Notes the CPU time after each step; saves nothing."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def load(self) -> State | None:
        """Return nothing: each fit starts anew."""

    def save(self, state: State) -> None:
        """Keep nothing."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Keep nothing."""

    def progress(self, description: str, done: int, total: int) -> None:
        """Note the time; the loop calls this before the first step and after each."""
        self.times.append(time.process_time())

    def stop_requested(self) -> bool:
        """Never stop."""
        return False


@dataclass(slots=True)
class Rows:
    """Counts a method's forward rows per new row."""

    new: int = 0
    seen: int = 0


class Trained:
    """A method that has learned two short tasks, ready for rounds of the third."""

    def __init__(self, overrides: Sequence[str], num_steps: int) -> None:
        self.job: Job = configured("data=world_skills", "model=tiny", "logger=none", *overrides)
        self.learner: Learner = self.job.build("model")
        self.method: Method = self.job.build("method")
        self.rows = Rows()
        tasks: Sequence[Task] = self.job.build("data").tasks
        self.task = tasks[NUM_PAST_TASKS]
        self.method.before_stream(self.learner, self.job.build("data").episodes, NoTraining())
        for task in tasks[:NUM_PAST_TASKS]:
            self.method.before_task(self.learner, task)
            self.learn(task)
            self.method.after_task(self.learner, task)
        self.method.before_task(self.learner, self.task)
        self._count_rows()

    def learn(self, task: Task) -> Session:
        """Train on a task for as many steps as the job's trainer says."""
        session = Session()
        self.method.learn(self.learner, task, self.job.build("trainer").bind(self.learner, self.method, session))
        return session

    def seconds_per_step(self) -> float:
        """Return the CPU seconds of a counted step of one round."""
        times = self.learn(self.task).times
        return (times[-1] - times[WARM_UP]) / (len(times) - 1 - WARM_UP)

    def _count_rows(self) -> None:
        mix = self.method.mix_batch

        def counting(learner: Learner, batch: Batch) -> Batch:
            mixed = mix(learner, batch)
            self.rows.new += len(batch.ids)
            self.rows.seen += len(mixed.ids)
            return mixed

        self.method.mix_batch = counting  # type: ignore[method-assign]


def measure(name: str, beside: str, num_steps: int, rounds: int) -> dict[str, Any]:
    """Return a method's seconds per step, those of fine-tuning beside it, and their ratio."""
    steps = f"trainer.max_steps={WARM_UP + num_steps}"
    own = [f"method={name}", *([] if name in OWN else [BESIDE[beside]])]
    plain = Trained([f"method={beside}", steps], num_steps)
    method = Trained([*own, steps], num_steps)
    pairs = [(plain.seconds_per_step(), method.seconds_per_step()) for _ in range(rounds)]
    base, mine = (min(values) for values in zip(*pairs, strict=True))
    return {
        "method": name,
        "beside": beside,
        "milliseconds": 1000 * mine,
        "plain": 1000 * base,
        "ratio": mine / base,
        "rows": method.rows.seen / method.rows.new,
        "stored": method.method.storage_bytes() / 1024,
    }


def markdown(record: dict[str, Any]) -> str:
    """Return the report."""
    columns = {"method": ("method", ""), "beside": ("beside", ""), "milliseconds": ("ms per step", ".0f")}
    columns |= {"plain": ("fine-tuning, ms", ".0f"), "ratio": ("ratio", ".2f"), "rows": ("rows", ".2f")}
    columns |= {"stored": ("stored, KiB", ",.0f")}
    return "\n".join(
        [
            "# Time of a training step\n",
            machine_line(record["machine"], "methods"),
            "CPU time in the third task, method and plain fine-tuning of the same kind of parameters in turn.\n",
            table(record["methods"], columns),
        ]
    )


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__)
    options.add_argument("--steps", type=int, default=8, help="counted steps of a round")
    options.add_argument("--rounds", type=int, default=3, help="rounds of each")
    options.add_argument("--only", nargs="+", help="methods")
    given = options.parse_args()
    record: dict[str, Any] = {"machine": set_up(given.threads), "methods": []}
    pairs = [(name, "lora") for name in ON_ADAPTER] + [(name, "finetune") for name in ON_ALL_WEIGHTS]
    for name, beside in pairs:
        if name in (given.only or [name]):
            record["methods"].append(measure(name, beside, given.steps, given.rounds))
            note(f"{name} beside {beside}: {record['methods'][-1]['ratio']:.2f}")
    write("methods", record, markdown(record), given.results)


if __name__ == "__main__":
    main()
