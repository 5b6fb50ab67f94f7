"""One training step in two processes against one, in turns, on CPUs: what dividing gains and the exchange costs.

    python -m torch.distributed.run --standalone --nproc-per-node 2 perf/distributed.py    # about 2 minutes

Writes perf/results/distributed.{md,json}. All weights and LoRA of model=tiny are trained on batches of 16 and 64
generated documents, one thread in each process; while one process works alone, the other waits. The best round of each
counts. On a busy machine the ratio in process 0's CPU seconds says more than that in wall-clock: it tells how much less
work a process has, with the time of the exchange itself, but not the wait for the other.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from parts import GENERATED, configured, set_up, training_examples
from reporting import machine_line, table, write
from training import BUDGET, WARM_UP, Round, trainer_round

from cmt_cli.core.learner import Learner
from cmt_cli.core.process_group import SINGLE_PROCESS, ProcessGroup
from cmt_cli.core.stream import Example
from cmt_cli.distributed.environment import distributed_environment
from cmt_cli.distributed.torch_group import join
from cmt_cli.layers.peft_lora import Lora

NUM_STEPS, NUM_ROUNDS = 10, 3
COLUMNS = {
    "trained": ("trained", ""),
    "batch_size": ("batch", ""),
    "one_ms": ("1 process, ms per step", ".0f"),
    "two_ms": ("2 processes, ms per step", ".0f"),
    "speed_up": ("speed-up", ".2f"),
    "cpu_ratio": ("CPU time of process 0, 1 / 2", ".2f"),
}


def learner_of(trained: str) -> Learner:
    """Return model=tiny with all its weights or LoRA trainable."""
    learner: Learner = configured(*GENERATED, "model.device=cpu").build("model")
    if trained == "LoRA":
        Lora(rank=8, alpha=32, targets="query_value", seed=0).apply(learner)
    else:
        learner.unfreeze()
    return learner


def best(rounds: Sequence[Round]) -> tuple[float, float]:
    """Return milliseconds per step by the wall clock and by the process's CPU time."""
    counted = (NUM_STEPS - WARM_UP) / 1000
    return min(r.seconds for r in rounds) / counted, min(r.cpu_seconds for r in rounds) / counted


def compared(trained: str, batch_size: int, examples: Sequence[Example], group: ProcessGroup) -> dict[str, Any]:
    """Train in turns alone and together; the numbers are process 0's."""
    learner = learner_of(trained)
    budget = replace(BUDGET, num_steps=NUM_STEPS, batch_size=batch_size)
    alone, together = [], []
    for _ in range(NUM_ROUNDS):
        learner.processes = SINGLE_PROCESS
        if group.rank == 0:
            alone.append(trainer_round(learner, examples, budget))
        group.any()
        learner.processes = group
        together.append(trainer_round(learner, examples, budget))
    one, two = best(alone) if alone else (0.0, 0.0), best(together)
    row: dict[str, Any] = {"trained": trained, "batch_size": batch_size, "one_ms": one[0], "two_ms": two[0]}
    return {**row, "speed_up": one[0] / two[0], "cpu_ratio": one[1] / two[1]}


def main() -> None:
    """Measure in all processes; process 0 writes."""
    place = distributed_environment(os.environ)
    if place is None:
        raise SystemExit("Start it as its docstring says: this is a single process.")
    group = join(place, is_sharded=False)
    facts = set_up(1)
    examples = training_examples(configured(*GENERATED))
    rows = [compared(trained, size, examples, group) for trained in ("all weights", "LoRA") for size in (16, 64)]
    if group.rank == 0:
        report = f"# One training step in two processes\n\n{machine_line(facts, 'distributed')}\n{table(rows, COLUMNS)}"
        write("distributed", {"machine": facts, "rows": rows}, report)


if __name__ == "__main__":
    main()
