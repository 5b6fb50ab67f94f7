"""Measure answers per second: batched decoding with a key/value cache against one question at a time without one.

    python benchmarks/decoding.py    # writes benchmarks/results/decoding.{md,json}; under 2 minutes on 2 cores

Shapes of distilgpt2 with random weights (speed does not depend on them), a memory of 12 virtual tokens in front of
every question, 16 new tokens each, no answer ends early. The table says for how many questions both ways agree.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from cmt_cli.core.beam_search import Beams, extend
from cmt_cli.core.decoding import Decoding, decode
from cmt_cli.core.prefix import Prefix, model_inputs
from cmt_cli.core.tokens import left_padded

RESULTS = Path(__file__).parent / "results"
SHAPE = {"vocab_size": 50257, "n_embd": 768, "n_layer": 6, "n_head": 12}  # distilgpt2
NUM_VIRTUAL = 12  # MAC's summary tokens at distilgpt2 size
QUESTION_TOKENS = (10, 30)  # SQuAD questions, about
NEVER = 50256  # end token, excluded below so that every answer has full length
GREEDY = Decoding(max_new_tokens=16, batch_size=64, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
BEAMS = dataclasses.replace(GREEDY, batch_size=16, num_beams=12, num_beam_groups=4, diversity_penalty=10.0)

Questions = list[list[int]]
Answers = list[list[int]]


class Setup:
    """A random model, questions, and one memory for each question."""

    def __init__(self, *, num_questions: int, device: torch.device) -> None:
        torch.manual_seed(0)
        self.device = device
        self.model: Any = GPT2LMHeadModel(GPT2Config(**SHAPE)).eval().to(device)
        with torch.no_grad():  # the end token's logit stays far below the others
            head = self.model.get_output_embeddings()
            head.weight = torch.nn.Parameter(head.weight.clone())
            head.weight[NEVER] = 0.0
            head.bias = torch.nn.Parameter(torch.zeros(SHAPE["vocab_size"], device=device))
            head.bias[NEVER] = -1e4
        lengths = torch.randint(*QUESTION_TOKENS, (num_questions,)).tolist()
        self.questions: Questions = [torch.randint(0, NEVER, (length,)).tolist() for length in lengths]
        shape = (num_questions, SHAPE["n_head"], NUM_VIRTUAL, SHAPE["n_embd"] // SHAPE["n_head"])
        layers = [
            (torch.randn(shape, device=device), torch.randn(shape, device=device)) for _ in range(SHAPE["n_layer"])
        ]
        self.prefix = Prefix(layers=tuple(layers))

    def rows(self, indices: list[int]) -> tuple[Tensor, Tensor, Prefix]:
        """Return ids, mask and memories of some questions."""
        ids, mask = left_padded([self.questions[i] for i in indices], NEVER)
        to = {"device": self.device}
        return torch.tensor(ids, **to), torch.tensor(mask, **to), self.prefix.rows(torch.tensor(indices, **to))


def batched(setup: Setup, decoding: Decoding) -> Answers:
    """Answer all questions in batches of like length, with the cache."""
    order = sorted(range(len(setup.questions)), key=lambda i: len(setup.questions[i]))
    answers: Answers = [[]] * len(order)
    for start in range(0, len(order), decoding.batch_size):
        chosen = order[start : start + decoding.batch_size]
        for i, tokens in zip(chosen, decode(setup.model, *setup.rows(chosen), decoding, NEVER), strict=True):
            answers[i] = tokens
    return answers


def single_greedy(setup: Setup, num_questions: int) -> Answers:
    """Answer the first questions one at a time; each token is a forward pass over the whole sequence."""
    answers = []
    for i in range(num_questions):
        ids, mask, prefix = setup.rows([i])
        for _ in range(GREEDY.max_new_tokens):
            logits = setup.model(
                **model_inputs(setup.model, ids, mask, prefix), use_cache=True, logits_to_keep=1
            ).logits
            ids = torch.cat([ids, logits[:, -1].argmax(dim=-1, keepdim=True)], dim=1)
            mask = torch.ones_like(ids)
        answers.append(ids[0, len(setup.questions[i]) :].tolist())
    return answers


def single_beams(setup: Setup, num_questions: int) -> Answers:
    """Answer the first questions one at a time with 12 diverse beams; each step reads all beams from their start."""
    answers = []
    for i in range(num_questions):
        prompt, _, prefix = setup.rows([i])
        beams = Beams.start(1, BEAMS, NEVER, setup.device)
        prompt, prefix = prompt.expand(BEAMS.num_beams, -1), prefix.rows(torch.zeros(BEAMS.num_beams, dtype=torch.long))
        for step in range(BEAMS.max_new_tokens):
            ids = torch.cat([prompt, beams.tokens.flatten(0, 2)], dim=1)
            inputs = model_inputs(setup.model, ids, torch.ones_like(ids), prefix)
            logits = setup.model(**inputs, use_cache=True, logits_to_keep=1).logits[:, -1]
            log_p = logits.log_softmax(dim=-1).view(*beams.scores.shape, -1)
            last = step + 1 == BEAMS.max_new_tokens
            beams, _ = extend(beams, log_p, penalty=BEAMS.diversity_penalty, eos_id=NEVER, last=last)
        answers.append(beams.best()[0].tolist())
    return answers


def seconds(function: Callable[[], Answers], device: torch.device) -> tuple[Answers, float, float]:
    """Run once and return the answers, the wall-clock seconds and this process's CPU seconds."""
    started, cpu_started = time.perf_counter(), time.process_time()
    answers = function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return answers, time.perf_counter() - started, time.process_time() - cpu_started


def compare(
    setup: Setup, decoding: Decoding, single: Callable[[Setup, int], Answers], num_single: int
) -> dict[str, Any]:
    """Time both ways in one run and compare their answers."""
    ids, mask, prefix = setup.rows([0])
    setup.model(**model_inputs(setup.model, ids, mask, prefix), use_cache=True)  # warm-up
    slow_answers, slow_seconds, slow_cpu = seconds(lambda: single(setup, num_single), setup.device)
    fast_answers, fast_seconds, fast_cpu = seconds(lambda: batched(setup, decoding), setup.device)
    agreement = sum(a == b for a, b in zip(slow_answers, fast_answers, strict=False)) / num_single
    slow, fast = num_single / slow_seconds, len(setup.questions) / fast_seconds
    return {
        "num_beams": decoding.num_beams,
        "batch_size": decoding.batch_size,
        "single_questions": num_single,
        "batched_questions": len(setup.questions),
        "single_answers_per_second": slow,
        "batched_answers_per_second": fast,
        "ratio": fast / slow,
        "single_cpu_seconds_per_answer": slow_cpu / num_single,
        "batched_cpu_seconds_per_answer": fast_cpu / len(setup.questions),
        "cpu_ratio": (slow_cpu / num_single) / (fast_cpu / len(setup.questions)),
        "same_answers": agreement,
    }


def table(report: dict[str, Any]) -> str:
    """Return the report as a Markdown table."""
    lines = [
        "# Decoding: batched with a cache against one question at a time without",
        "",
        f"{report['date']}, {report['device']}, {report['threads']} threads, torch {report['torch']}. Shapes of "
        f"distilgpt2, {NUM_VIRTUAL} virtual tokens in front, {GREEDY.max_new_tokens} new tokens. Made by "
        "`benchmarks/decoding.py`.",
        "",
        f"Load average of the machine at the start: {report['load_average']:.1f}. Where that is above 0.5, other "
        "processes took part of the cores, and the ratio of CPU seconds says more than that of wall-clock time.",
        "",
        "| decoding | one at a time, no cache (answers/s) | batched, cache (answers/s) | ratio "
        "| CPU seconds per answer | ratio of CPU seconds | same answers |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in report["results"].items():
        lines.append(
            f"| {name} | {row['single_answers_per_second']:.2f} | {row['batched_answers_per_second']:.1f} "
            f"(batch {row['batch_size']}) | {row['ratio']:.1f} | {row['single_cpu_seconds_per_answer']:.2f}, "
            f"{row['batched_cpu_seconds_per_answer']:.3f} | {row['cpu_ratio']:.1f} | {row['same_answers']:.0%} |"
        )
    return "\n".join(lines) + "\n"


@torch.inference_mode()
def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--questions", type=int, default=64, help="questions for greedy decoding; a quarter for beams")
    parser.add_argument("--single", type=int, default=8, help="of them, answered one at a time; a quarter for beams")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    greedy = Setup(num_questions=arguments.questions, device=device)
    beams = Setup(num_questions=arguments.questions // 4, device=device)
    report = {
        "date": datetime.date.today().isoformat(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "torch": torch.__version__,
        "shape": SHAPE,
        "results": {
            "greedy": compare(greedy, GREEDY, single_greedy, arguments.single),
            "12 diverse beams": compare(beams, BEAMS, single_beams, arguments.single // 4),
        },
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "decoding.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (RESULTS / "decoding.md").write_text(table(report), encoding="utf-8")
    print(table(report))


if __name__ == "__main__":
    main()
