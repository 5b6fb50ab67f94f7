"""Batches of like lengths: the trainer against the same batches padded to the maximum, and against a bare torch loop.

    python perf/batching.py    # writes perf/results/batching.{md,json}; about 4 minutes on 2 cores

Texts of the generated world of very different lengths: most are short, a few are long, as in instruction data. Three
loops train all weights of model=tiny on the same batches from the same weights, in turns; the best round of each
counts. "padded to the maximum" is the trainer with every row padded to the longest text, as a collator with
padding="max_length" does. The bare loop is that of `training.py`. Tokens are real ones, without padding; the losses of
the last step must agree. On a busy machine the ratios in this process's CPU seconds say more than those in wall-clock.
Last, how long the order of an epoch takes for up to a million items.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from parts import GENERATED, configured, set_up, training_examples
from reporting import machine_line, parser, table, write
from torch.nn import functional
from training import BUDGET, WARM_UP, Round, bare_round, trainer_round

from cmt_cli.core.batch import Batch, Row
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.stream import Example
from cmt_cli.training.batching import BatchPlan, epoch_batches

NUM_EXAMPLES, NUM_SENTENCES, SHAPE = 2048, 24, 1.1  # at most so many sentences; Pareto's shape
TARGETS = {"maximum": 2.0, "bare": 0.9}


class PaddedToMaximum(Learner):
    """A learner whose batches are all as long as the longest row of the data."""

    def __init__(self, learner: Learner, length: int) -> None:
        """Share everything with `learner`."""
        self.__dict__.update(learner.__dict__)
        self._length = length

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Right-pad rows to the maximum."""
        batch = super().collate(rows)
        room = (0, self._length - batch.input_ids.shape[1])
        return replace(
            batch,
            input_ids=functional.pad(batch.input_ids, room, value=self.pad_id),
            attention_mask=functional.pad(batch.attention_mask, room, value=0),
            labels=functional.pad(batch.labels, room, value=IGNORED),
        )


def skewed(texts: Sequence[str], max_characters: int) -> list[Example]:
    """Return texts of 1 to `NUM_SENTENCES` sentences, short ones far more often, none cut by the model's room."""
    rng = random.Random(0)
    sentences = [f"{sentence.strip()}." for text in texts for sentence in text.split(".") if sentence.strip()]
    examples = []
    for i in range(NUM_EXAMPLES):
        number = min(int(rng.paretovariate(SHAPE)), NUM_SENTENCES)
        examples.append(Example(str(i), "", " ".join(rng.choices(sentences, k=number))[:max_characters]))
    return examples


def measure(learner: Learner, examples: Sequence[Example], *, steps: int, rounds: int) -> dict[str, Any]:
    """Measure the three loops from the same weights."""
    budget = replace(BUDGET, num_steps=WARM_UP + steps)
    rows = [row for example in examples for row in learner.rows(example)]
    lengths = [len(row.input_ids) for row in rows]
    plan = BatchPlan(len(rows), lengths, budget=budget, max_steps=None, seed=0)
    order = [plan.items(step) for step in range(plan.num_steps)]
    learner.unfreeze()
    start = {key: value.clone() for key, value in learner.model.state_dict().items()}
    loops: dict[str, Callable[[], Round]] = {
        "trainer": lambda: trainer_round(learner, examples, budget),
        "maximum": lambda: trainer_round(PaddedToMaximum(learner, max(lengths)), examples, budget),
        "bare": lambda: bare_round(learner, rows, order, budget),
    }
    found: dict[str, list[Round]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            learner.model.load_state_dict(start)
            found[name].append(loop())
    tokens = sum(lengths[i] for chosen in order[WARM_UP:] for i in chosen)
    return {
        "lengths": {"mean": sum(lengths) / len(lengths), "max": max(lengths), "batch_size": budget.batch_size},
        "loops": [_row(name, found, tokens, _padded(name, order[WARM_UP:], lengths)) for name in loops],
    }


def _padded(loop: str, order: Sequence[Sequence[int]], lengths: Sequence[int]) -> int:
    longest = (max(lengths) if loop == "maximum" else max(lengths[i] for i in chosen) for chosen in order)
    return sum(len(chosen) * length for chosen, length in zip(order, longest, strict=True))


def _row(name: str, found: dict[str, list[Round]], tokens: int, padded: int) -> dict[str, Any]:
    best = {loop: min(part.seconds for part in parts) for loop, parts in found.items()}
    cpu = {loop: min(part.cpu_seconds for part in parts) for loop, parts in found.items()}
    return {
        "loop": {"trainer": "trainer", "maximum": "trainer, padded to the maximum", "bare": "bare torch loop"}[name],
        "padding": 1 - tokens / padded,
        "tokens_per_second": tokens / best[name],
        "ratio": best[name] / best["trainer"],
        "cpu_ratio": cpu[name] / cpu["trainer"],
        "target": TARGETS.get(name),
        "loss": found[name][-1].loss,
    }


def planning(num_items: int) -> dict[str, Any]:
    """Measure how long the order of one epoch takes for items of drawn lengths."""
    rng = random.Random(0)
    lengths = [min(int(8 * rng.paretovariate(SHAPE)), 512) for _ in range(num_items)]
    started = time.process_time()
    epoch_batches(num_items, BUDGET.batch_size, lengths=lengths, shuffle=True, seed=0, epoch=0)
    return {"items": num_items, "cpu_seconds": time.process_time() - started}


def markdown(record: dict[str, Any]) -> str:
    """Return the report."""
    lengths = record["lengths"]
    columns = {"loop": ("loop", ""), "padding": ("padding", ".1%"), "tokens_per_second": ("real tokens/s", ",.0f")}
    columns |= {"ratio": ("trainer / this", ".2f"), "cpu_ratio": ("in CPU seconds", ".2f")}
    columns |= {"target": ("target", ".1f"), "loss": ("loss of the last step", ".5f")}
    return "\n".join(
        [
            "# Batches of like lengths\n",
            machine_line(record["machine"], "batching"),
            f"model=tiny, all weights, batches of {lengths['batch_size']} texts of the generated world, "
            f"{lengths['mean']:.0f} tokens on average and {lengths['max']} at most. The same batches in all loops.\n",
            table(record["loops"], columns),
            "## The order of one epoch\n",
            table(record["planning"], {"items": ("items", ",d"), "cpu_seconds": ("CPU seconds", ".2f")}),
        ]
    )


def main() -> None:
    """Measure and write the tables."""
    options = parser(__doc__)
    options.add_argument("--steps", type=int, default=30, help="counted steps of a round")
    options.add_argument("--rounds", type=int, default=3, help="rounds of each loop")
    given = options.parse_args()
    facts = set_up(given.threads)
    job = configured("method=finetune", *GENERATED)
    learner = job.build("model")
    examples = skewed([example.target for example in training_examples(job)], max_characters=learner.max_tokens)
    measured = measure(learner, examples, steps=given.steps, rounds=given.rounds)
    record = {"machine": facts, **measured, "planning": [planning(number) for number in (10_000, 100_000, 1_000_000)]}
    write("batching", record, markdown(record), given.results)


if __name__ == "__main__":
    main()
