"""Training on a CPU: the trainer against a bare torch loop, and the steps of CMT's meta-training.

    python perf/training.py    # writes perf/results/training.{md,json}; about 3 minutes on 2 cores

Fine-tuning: all weights on the documents of the generated world, batches of 16, for model=tiny and for a random model
of distilgpt2's shape (same token ids). The bare loop is what one would write by hand: the same rows in the same order,
padded alike, full logits, mean loss over real tokens, clipping, AdamW. Both take turns in short rounds and the best
round of each counts; the losses of the last step must agree. Tokens are real ones, without padding. On a busy machine
the ratio of this process's CPU seconds says more than that of wall-clock time.
Meta-training: method=cmt with its defaults and the default trainer; one backward pass goes through answers and encoder.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from parts import GENERATED, NoTraining, configured, random_distilgpt2, set_up, training_examples
from reporting import machine_line, parser, table, write
from torch import Tensor

from cmt_cli.core.batch import Row
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import Budget, ParamGroup, State
from cmt_cli.core.stream import Example
from cmt_cli.methods.amortized.encoded_batch import encode_batch
from cmt_cli.methods.amortized.episodic_objective import EpisodicObjective
from cmt_cli.running.job import Job
from cmt_cli.training.batching import BatchPlan
from cmt_cli.training.trainer import Trainer

BUDGET = Budget(
    num_epochs=None,
    num_steps=1,
    batch_size=16,
    learning_rate=1e-5,
    betas=(0.9, 0.999),
    weight_decay=0.0,
    warmup_fraction=0.0,
    schedule="constant",
    max_grad_norm=1.0,
    shuffle=True,
)
WARM_UP = 2  # steps at the start of each round that are not counted: AdamW makes its moments in the first
Clock = tuple[float, float]  # wall-clock and CPU seconds


def clock() -> Clock:
    """Return the time, and the CPU time of this process."""
    return time.perf_counter(), time.process_time()


class Session:
    """Notes when each step ended; saves nothing."""

    def __init__(self) -> None:
        self.times: list[Clock] = []
        self.loss = float("nan")

    def load(self) -> State | None:
        """Return nothing: each fit starts anew."""

    def save(self, state: State) -> None:
        """Keep nothing."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Keep the newest loss."""
        self.loss = values["loss"]

    def note_trained(self, groups: Sequence[ParamGroup]) -> None:
        """Count nothing."""

    def progress(self, description: str, done: int, total: int) -> None:
        """Note the time; the loop calls this before the first step and after each."""
        if description != "Tokenizing":
            self.times.append(clock())

    def stop_requested(self) -> bool:
        """Never stop."""
        return False


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds and CPU seconds of the counted steps, and the loss of the last."""

    seconds: float
    cpu_seconds: float
    loss: float

    @staticmethod
    def between(start: Clock, end: Clock, loss: float) -> Round:
        """Return the round of two readings of the clock."""
        return Round(end[0] - start[0], end[1] - start[1], loss)


def trainer(budget: Budget, seed: int = 0) -> Trainer:
    """Return the trainer as the default configuration has it, its loss logged at each step."""
    return Trainer(
        task=budget,
        meta=budget,
        micro_batch_size=None,
        precision="fp32",
        max_steps=None,
        log_every_steps=1,
        checkpoint_every_seconds=1e9,
        seed=seed,
    )


def trainer_round(learner: Learner, examples: Sequence[Example], budget: Budget) -> Round:
    """Fine-tune with the trainer."""
    session = Session()
    trainer(budget).bind(learner, Method(), session).on_examples(examples, budget)
    return Round.between(session.times[WARM_UP], session.times[-1], session.loss)


def bare_round(learner: Learner, rows: Sequence[Row], steps: Sequence[Sequence[int]], budget: Budget) -> Round:
    """Fine-tune with a plain loop over the same batches."""
    model = learner.model
    assert budget.learning_rate is not None, "the rounds are given their rate"
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=budget.learning_rate, betas=budget.betas, weight_decay=budget.weight_decay
    )
    times = [clock()]
    for chosen in steps:
        ids, mask, labels = padded([rows[i] for i in chosen], learner.pad_id)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), budget.max_grad_norm)
        optimizer.step()
        times.append(clock())
    return Round.between(times[WARM_UP], times[-1], loss.item())


def padded(rows: Sequence[Row], pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return right-padded ids, mask and labels `[batch, seq]`; -100 is not scored."""
    length = max(len(row.input_ids) for row in rows)
    ids = torch.tensor([[*row.input_ids, *[pad_id] * (length - len(row.input_ids))] for row in rows])
    mask = torch.tensor([[1] * len(row.input_ids) + [0] * (length - len(row.input_ids)) for row in rows])
    labels = ids.masked_fill(mask == 0, -100)
    for label, row in zip(labels, rows, strict=True):
        label[: row.num_prompt_tokens] = -100
    return ids, mask, labels


def fine_tuning(name: str, learner: Learner, examples: Sequence[Example], *, steps: int, rounds: int) -> dict[str, Any]:
    """Measure both loops from the same weights."""
    budget = replace(BUDGET, num_steps=WARM_UP + steps)
    rows = [row for example in examples for row in learner.rows(example)]
    lengths = [len(row.input_ids) for row in rows]
    plan = BatchPlan(len(rows), lengths, budget=budget, max_steps=None, seed=0)
    order = [plan.items(step) for step in range(plan.num_steps)]
    learner.unfreeze()
    start = {key: value.clone() for key, value in learner.model.state_dict().items()}
    found: dict[str, list[Round]] = {"trainer": [], "bare": []}
    for _ in range(rounds):
        learner.model.load_state_dict(start)
        found["bare"].append(bare_round(learner, rows, order, budget))
        learner.model.load_state_dict(start)
        found["trainer"].append(trainer_round(learner, examples, budget))
    tokens = sum(lengths[i] for chosen in order[WARM_UP:] for i in chosen)
    seen = sum(len(chosen) * max(lengths[i] for i in chosen) for chosen in order[WARM_UP:])
    best = {loop: min(part.seconds for part in parts) for loop, parts in found.items()}
    best_cpu = {loop: min(part.cpu_seconds for part in parts) for loop, parts in found.items()}
    return {
        "model": name,
        "tokens_per_document": sum(lengths) / len(lengths),
        "padding": 1 - tokens / seen,
        "trainer": tokens / best["trainer"],
        "bare": tokens / best["bare"],
        "ratio": best["bare"] / best["trainer"],
        "cpu_ratio": best_cpu["bare"] / best_cpu["trainer"],
        "trainer_loss": found["trainer"][-1].loss,
        "bare_loss": found["bare"][-1].loss,
    }


class TimedObjective:
    """An episodic objective with the clock read between its parts; the same gradient."""

    def __init__(self, inner: EpisodicObjective) -> None:
        self.inner = inner
        self.num_items, self.lengths, self.param_groups = inner.num_items, inner.lengths, inner.param_groups
        self.after_step, self.state_dict, self.load_state_dict = (
            inner.after_step,
            inner.state_dict,
            inner.load_state_dict,
        )
        self.marks: list[tuple[float, ...]] = []
        self.tokens: list[int] = []

    def backward(self, items: Sequence[int], *, micro_batch_size: int, step: int, num_steps: int) -> dict[str, Tensor]:
        """Encode, answer, go backward; see `EpisodicObjective.backward`."""
        inner, chosen = self.inner, [self.inner.items[i] for i in items]
        marks = [time.perf_counter()]
        generator = torch.Generator().manual_seed(inner.seed * 1_000_003 + step)
        batch = encode_batch(inner.amortizer, chosen, micro_batch_size)
        marks.append(time.perf_counter())
        terms = inner.terms(batch, micro_batch_size, generator)
        loss = torch.stack(list(terms.values())).sum()
        marks.append(time.perf_counter())
        loss.backward()
        self.marks.append((*marks, time.perf_counter()))
        self.tokens.append(sum(len(ids) for ids in [*batch.documents, *(item.question for item in chosen)]))
        return {**{name: term.detach() for name, term in terms.items()}, "loss": loss.detach()}

    def parts(self) -> Iterator[float]:
        """Yield the mean seconds per counted step in encoding, answering and the backward pass."""
        counted = self.marks[WARM_UP:]
        for part in range(3):
            yield sum(marks[part + 1] - marks[part] for marks in counted) / len(counted)


def meta_training(job: Job, steps: int) -> dict[str, Any]:
    """Measure steps of the method's meta-training as the default configuration does them."""
    learner, method, kept = job.build("model"), job.build("method"), NoTraining()
    method.before_stream(learner, job.build("data").episodes, kept)
    assert isinstance(kept.objective, EpisodicObjective)
    objective, session = TimedObjective(kept.objective), Session()
    job.build("trainer").bind(learner, method, session).on_objective(objective)
    seconds = (session.times[-1][0] - session.times[WARM_UP][0]) / steps
    encoding, answering, backward = objective.parts()
    return {
        "method": "cmt",
        "steps_per_second": 1 / seconds,
        "questions_per_second": job.config["trainer"]["meta"]["batch_size"] / seconds,
        "tokens_per_second": sum(objective.tokens[WARM_UP:]) / steps / seconds,
        "encoding": encoding / seconds,
        "answering": answering / seconds,
        "backward": backward / seconds,
        "rest": 1 - (encoding + answering + backward) / seconds,
        "trainable": sum(p.numel() for group in objective.param_groups() for p in group.parameters),
    }


def markdown(record: dict[str, Any]) -> str:
    """Return the report."""
    tuning = {"model": ("model", ""), "tokens_per_document": ("tokens per document", ".0f")}
    tuning |= {"padding": ("padding", ".1%"), "trainer": ("trainer, tokens/s", ",.0f")}
    tuning |= {"bare": ("bare loop, tokens/s", ",.0f"), "ratio": ("trainer / bare", ".2f")}
    tuning |= {"cpu_ratio": ("in CPU seconds", ".2f")}
    tuning |= {"trainer_loss": ("loss, trainer", ".5f"), "bare_loss": ("loss, bare", ".5f")}
    meta = {"method": ("method", ""), "steps_per_second": ("steps/s", ".2f")}
    meta |= {"questions_per_second": ("questions/s", ",.0f"), "tokens_per_second": ("tokens encoded/s", ",.0f")}
    meta |= {"encoding": ("encoding, forward", ".0%"), "answering": ("answering, forward", ".0%")}
    meta |= {"backward": ("backward", ".0%"), "rest": ("AdamW and the rest", ".0%")}
    meta |= {"trainable": ("trained parameters", ",d")}
    return "\n".join(
        [
            "# Training\n",
            machine_line(record["machine"], "training"),
            "## Fine-tuning all weights, batches of 16 documents of the generated world\n",
            "Tokens without padding. The losses are those of the last step, from the same start.\n",
            table(record["fine_tuning"], tuning),
            "## Meta-training, model=tiny, default settings, batches of 32 questions with their documents\n",
            "Shares of a step's time.\n",
            table([record["meta_training"]], meta),
        ]
    )


def main() -> None:
    """Measure and write the tables."""
    options = parser(__doc__)
    options.add_argument(
        "--steps", type=int, default=30, help="counted steps of a round; a tenth for distilgpt2's shape"
    )
    options.add_argument("--rounds", type=int, default=3, help="rounds of each loop")
    given = options.parse_args()
    facts = set_up(given.threads)
    job = configured("method=cmt", *GENERATED, f"trainer.max_steps={WARM_UP + given.steps}")
    examples, tiny = training_examples(job), job.build("model")
    large = random_distilgpt2(tiny.tokenizer)
    few = max(1, given.steps // 10)
    tuned = [
        fine_tuning("tiny", tiny, examples, steps=given.steps, rounds=given.rounds),
        fine_tuning("distilgpt2's shape", large, examples, steps=few, rounds=given.rounds),
    ]
    record = {"machine": facts, "fine_tuning": tuned, "meta_training": meta_training(job, given.steps)}
    write("training", record, markdown(record), given.results)


if __name__ == "__main__":
    main()
