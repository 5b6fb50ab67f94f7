"""bf16 against fp32 on one model: reading, LoRA steps, CMT's meta-training steps, and whether the answers agree.

    python perf/precision.py model=smollm2_135m    # writes perf/results/precision.{md,json}; settings as for `cmt run`
    python perf/precision.py model=huggingface model.name_or_path=FOLDER

The model is loaded twice, as `model.dtype` and `trainer.precision` fp32 and bf16 make it; both take turns in short
rounds and the best round of each counts. Reading is a forward pass over documents of one length whose last token alone
is scored; scoring has logits for every token. A step is the trainer's own, from the batch to AdamW's update; the first
of each round, in which AdamW makes its moments, is not counted. Answers are those of the frozen model to questions of
the generated world behind their documents: how many are the same text, and F1 and log-likelihoods of the two. On a busy
machine CPU seconds with one thread say more than wall-clock time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from parts import configured, meta_objective, set_up, training_examples
from reporting import machine_line, note, parser, table, write
from training import Session

from cmt_cli.core.batch import Batch, Row
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.mixed_precision import cpu_bf16, num_parameters
from cmt_cli.core.stream import Answer, Episode, Prompt
from cmt_cli.evaluation.answer_metrics import token_f1
from cmt_cli.running.job import Job

PRECISIONS = ("fp32", "bf16")
DECODING = Decoding(max_new_tokens=16, batch_size=16, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
ROWS, TOKENS = 8, 128  # of a forward pass
Seconds = tuple[float, float]  # wall-clock, CPU


def built(method: str, settings: Sequence[str], precision: str, *more: str) -> tuple[Job, Learner]:
    """Return a job in a precision and a learner of its own."""
    fixed = ["data=streamingqa", "data.source=generated", "logger=none"]
    own = [f"model.dtype={precision}", f"trainer.precision={precision}"]
    job = configured(f"method={method}", *fixed, *settings, *own, *more)
    return job, job.build("model")


def timed(call: Callable[[], object]) -> Seconds:
    """Return how long a call takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def forward_batches(learner: Learner, text: str) -> dict[str, Batch]:
    """Return a batch to read and the same to score, cut from a text."""
    ids = learner.encode(text)
    pieces = [tuple(ids[i * TOKENS : (i + 1) * TOKENS]) for i in range(ROWS)]
    if len(pieces[-1]) < TOKENS:
        raise ValueError(f"{len(ids)} tokens are too few for {ROWS} rows of {TOKENS}.")
    scored_from = {"reading": TOKENS - 1, "scoring": 0}
    return {
        name: learner.collate([Row(str(i), piece, start) for i, piece in enumerate(pieces)])
        for name, start in scored_from.items()
    }


@torch.no_grad()
def forward_rounds(settings: Sequence[str], text: str, rounds: int) -> list[dict[str, Any]]:
    """Return seconds of a forward pass in both precisions."""
    learners = {precision: built("frozen", settings, precision)[1] for precision in PRECISIONS}
    batches = {precision: forward_batches(learner, text) for precision, learner in learners.items()}
    rows = []
    for name in ("reading", "scoring"):
        passes = {p: _forward(learners[p], batches[p][name]) for p in PRECISIONS}
        for call in passes.values():
            call()
        rows.append(_row(name, {p: [] for p in PRECISIONS}, passes, rounds) | {"tokens": ROWS * TOKENS})
    return rows


def _forward(learner: Learner, batch: Batch) -> Callable[[], object]:
    return lambda: learner.forward(batch)


def _row(
    name: str, found: dict[str, list[Seconds]], passes: dict[str, Callable[[], object]], rounds: int
) -> dict[str, Any]:
    for _ in range(rounds):
        for precision, call in passes.items():
            found[precision].append(timed(call))
    return compared(name, found)


def compared(name: str, found: dict[str, list[Seconds]]) -> dict[str, Any]:
    """Return the best round of each precision and how many times faster bf16 is."""
    best = {p: [min(seconds) for seconds in zip(*rounds, strict=True)] for p, rounds in found.items()}
    row: dict[str, Any] = {"name": name, "tokens": None}
    for i, clock in enumerate(("seconds", "cpu_seconds")):
        row |= {f"{p}_{clock}": best[p][i] for p in PRECISIONS}
        row[f"{clock}_ratio"] = best["fp32"][i] / best["bf16"][i]
    return row


def steps(job: Job, learner: Learner, train: Callable[[Any], None]) -> Seconds:
    """Return the shortest of a fit's steps but the first."""
    session = Session()
    train(job.build("trainer").bind(learner, Method(), session))
    spans = zip(session.times[1:], session.times[2:], strict=False)
    wall, cpu = zip(*((end[0] - start[0], end[1] - start[1]) for start, end in spans), strict=True)
    return min(wall), min(cpu)


def training_rounds(settings: Sequence[str], batch_size: int, num_steps: int) -> list[dict[str, Any]]:
    """Return seconds of a LoRA step and of a meta-training step in both precisions."""
    found: dict[str, dict[str, list[Seconds]]] = {"LoRA step": {}, "meta-training step": {}}
    for precision in PRECISIONS:
        note(f"training in {precision}")
        limits = (f"trainer.max_steps={1 + num_steps}", f"trainer.task.batch_size={batch_size}")
        own = ("trainable@method.trainable=lora", "trainer.task.learning_rate=1.0e-4")
        job, learner = built("finetune", settings, precision, *own, *limits)
        job.build("method").trainable.apply(learner)
        examples = training_examples(job)
        found["LoRA step"][precision] = [steps(job, learner, lambda fit, e=examples: fit.on_examples(e))]  # type: ignore[misc]
        job, learner = built("cmt", settings, precision, limits[0], f"trainer.meta.batch_size={batch_size}")
        objective = meta_objective(job, learner, 2 * batch_size)
        found["meta-training step"][precision] = [steps(job, learner, lambda fit, o=objective: fit.on_objective(o))]  # type: ignore[misc]
    return [compared(name, rounds) for name, rounds in found.items()]


def agreement(settings: Sequence[str], number: int) -> dict[str, Any]:
    """Return how far the two precisions' answers and scores agree on questions behind their documents."""
    answers: dict[str, list[Answer]] = {}
    scores: dict[str, list[float]] = {}
    for precision in PRECISIONS:
        note(f"answering in {precision}")
        job, learner = built("frozen", settings, precision)
        asked = [open_book(episode) for episode in job.build("data").episodes.train[:number]]
        answers[precision] = learner.generate([prompt for prompt, _ in asked], DECODING)
        scores[precision] = learner.loglikelihood([prompt for prompt, _ in asked], [truth for _, truth in asked])
    truths = [[truth.strip()] for _, truth in asked]
    texts = {p: [answer.text for answer in given] for p, given in answers.items()}
    f1 = {p: sum(map(token_f1, given, truths)) / len(truths) for p, given in texts.items()}
    pairs = list(zip(scores["fp32"], scores["bf16"], strict=True))
    return {
        "questions": len(truths),
        "equal": sum(a == b for a, b in zip(texts["fp32"], texts["bf16"], strict=True)) / len(truths),
        "f1_fp32": f1["fp32"],
        "f1_bf16": f1["bf16"],
        "nats_apart": sum(abs(a - b) for a, b in pairs) / len(pairs),
        "nats_mean": -sum(a for a, _ in pairs) / len(pairs),
    }


def open_book(episode: Episode) -> tuple[Prompt, str]:
    """Return an episode's first question behind its document, and the answer."""
    example = episode.query[0]
    prompt = Prompt(example.id, f"{episode.support[0].text}\n{example.prompt}")
    return replace(prompt, choices=example.choices), example.target


def markdown(record: dict[str, Any]) -> str:
    """Return the report."""
    speed = {"name": ("", ""), "tokens": ("tokens", ",d")}
    speed |= {f"{p}_seconds": (f"{p}, seconds", ".2f") for p in PRECISIONS} | {"seconds_ratio": ("times faster", ".2f")}
    speed |= {f"{p}_cpu_seconds": (f"{p}, CPU seconds", ".2f") for p in PRECISIONS}
    speed |= {"cpu_seconds_ratio": ("times faster", ".2f")}
    same = {"questions": ("questions", ",d"), "equal": ("same answer", ".1%"), "f1_fp32": ("F1, fp32", ".1%")}
    same |= {"f1_bf16": ("F1, bf16", ".1%"), "nats_mean": ("nats per answer, fp32", ".3f")}
    same |= {"nats_apart": ("mean difference, nats", ".3f")}
    return "\n".join(
        [
            "# Precision\n",
            machine_line(record["machine"], "precision"),
            f"`{' '.join(record['settings'])}`, {record['parameters'] / 1e6:.0f} M parameters; the CPU has "
            f"{', '.join(record['cpu_bf16']) or 'no instructions for bf16'}. Steps are of {record['batch_size']} rows "
            "or questions.\n",
            table(record["speed"], speed),
            "## Answers behind the document\n",
            table([record["agreement"]], same),
        ]
    )


def main() -> None:
    """Measure and write the tables."""
    options = parser(__doc__)
    options.add_argument("settings", nargs="+", help="the model, as for `cmt run`")
    options.add_argument("--batch-size", type=int, default=16, help="rows or questions of a training step")
    options.add_argument("--steps", type=int, default=3, help="counted training steps")
    options.add_argument("--rounds", type=int, default=5, help="counted forward passes")
    options.add_argument("--questions", type=int, default=200, help="answers that are compared")
    given = options.parse_args()
    facts = set_up(given.threads)
    job, learner = built("frozen", given.settings, "fp32")
    text = " ".join(document.text for episode in job.build("data").episodes.train for document in episode.support)
    parameters = num_parameters(learner.model)
    del learner
    speed = forward_rounds(given.settings, text, given.rounds)
    speed += training_rounds(given.settings, given.batch_size, given.steps)
    record = {
        "machine": facts,
        "settings": given.settings,
        "parameters": parameters,
        "cpu_bf16": cpu_bf16(),
        "batch_size": given.batch_size,
        "speed": speed,
        "agreement": agreement(given.settings, given.questions),
    }
    write("precision", record, markdown(record), given.results)


if __name__ == "__main__":
    main()
