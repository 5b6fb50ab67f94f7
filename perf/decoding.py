"""Measure answers per second: batched decoding with a key/value cache against one question at a time without one.

    python perf/decoding.py    # writes perf/results/decoding.{md,json}; under 2 minutes on 2 cores

Shapes of distilgpt2 with random weights (speed does not depend on them), a memory of 12 virtual tokens in front of
every question, 16 new tokens each, no answer ends early. The table says for how many questions both ways agree.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import torch
from parts import DISTILGPT2, set_up
from reporting import machine_line, parser, table, write
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from cmt_cli.core.beam_search import Beams, extend
from cmt_cli.core.decoding import Decoding, decode, until
from cmt_cli.core.prefix import Prefix, model_inputs
from cmt_cli.core.tokens import left_padded

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
        self.model: Any = GPT2LMHeadModel(GPT2Config(**DISTILGPT2)).eval().to(device)
        with torch.no_grad():  # the end token's logit stays far below the others
            head = self.model.get_output_embeddings()
            head.weight = torch.nn.Parameter(head.weight.clone())
            head.weight[NEVER] = 0.0
            head.bias = torch.nn.Parameter(torch.zeros(DISTILGPT2["vocab_size"], device=device))
            head.bias[NEVER] = -1e4
        lengths = torch.randint(*QUESTION_TOKENS, (num_questions,)).tolist()
        self.questions: Questions = [torch.randint(0, NEVER, (length,)).tolist() for length in lengths]
        shape = (num_questions, DISTILGPT2["n_head"], NUM_VIRTUAL, DISTILGPT2["n_embd"] // DISTILGPT2["n_head"])
        layers = [
            (torch.randn(shape, device=device), torch.randn(shape, device=device)) for _ in range(DISTILGPT2["n_layer"])
        ]
        self.prefix = Prefix(layers=tuple(layers))

    def rows(self, indices: list[int]) -> tuple[Tensor, Tensor, Prefix]:
        """Return ids, mask and memories of some questions."""
        ids, mask = left_padded([self.questions[i] for i in indices], NEVER)
        to: dict[str, Any] = {"device": self.device}
        return torch.tensor(ids, **to), torch.tensor(mask, **to), self.prefix.rows(torch.tensor(indices, **to))


def batched(setup: Setup, decoding: Decoding) -> Answers:
    """Answer all questions in batches of like length, with the cache."""
    order = sorted(range(len(setup.questions)), key=lambda i: len(setup.questions[i]))
    answers: Answers = [[]] * len(order)
    for start in range(0, len(order), decoding.batch_size):
        chosen = order[start : start + decoding.batch_size]
        for i, tokens in zip(chosen, decode(setup.model, *setup.rows(chosen), decoding, (NEVER,)), strict=True):
            answers[i] = tokens
    return answers


def single(setup: Setup, decoding: Decoding, num_questions: int) -> Answers:
    """Answer the first questions one at a time, without a cache."""
    answers = []
    for i in range(num_questions):
        ids, _, prefix = setup.rows([i])
        answers.append(without_cache(setup.model, ids, prefix, decoding, NEVER))
    return answers


def without_cache(model: Any, prompt: Tensor, prefix: Prefix, decoding: Decoding, eos_id: int) -> list[int]:
    """Continue one prompt `[1, seq]`, greedily or with diverse beams; each token reads all of them from the start."""
    way = _greedy_without_cache if decoding.num_beams == 1 else _beams_without_cache
    return until(way(model, prompt, prefix, decoding, eos_id), eos_id)


def _greedy_without_cache(model: Any, prompt: Tensor, prefix: Prefix, decoding: Decoding, eos_id: int) -> list[int]:
    ids = prompt
    for _ in range(decoding.max_new_tokens):
        inputs = model_inputs(model, ids, torch.ones_like(ids), prefix)
        logits = model(**inputs, use_cache=True, logits_to_keep=1).logits
        ids = torch.cat([ids, logits[:, -1].argmax(dim=-1, keepdim=True)], dim=1)
    return ids[0, prompt.shape[1] :].tolist()


def _beams_without_cache(model: Any, prompt: Tensor, prefix: Prefix, decoding: Decoding, eos_id: int) -> list[int]:
    beams = Beams.start(1, decoding, eos_id, prompt.device)
    prompt = prompt.expand(decoding.num_beams, -1)
    prefix = prefix.rows(torch.zeros(decoding.num_beams, dtype=torch.long, device=prompt.device))
    for step in range(decoding.max_new_tokens):
        ids = torch.cat([prompt, beams.tokens.flatten(0, 2)], dim=1)
        inputs = model_inputs(model, ids, torch.ones_like(ids), prefix)
        logits = model(**inputs, use_cache=True, logits_to_keep=1).logits[:, -1]
        log_p = logits.log_softmax(dim=-1).view(*beams.scores.shape, -1)
        last = step + 1 == decoding.max_new_tokens
        beams, _ = extend(beams, log_p, penalty=decoding.diversity_penalty, end_ids=(eos_id,), last=last)
    return beams.best()[0].tolist()


def seconds(function: Callable[[], Answers], device: torch.device) -> tuple[Answers, float, float]:
    """Run once and return the answers, the wall-clock seconds and this process's CPU seconds."""
    started, cpu_started = time.perf_counter(), time.process_time()
    answers = function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return answers, time.perf_counter() - started, time.process_time() - cpu_started


def compare(setup: Setup, decoding: Decoding, num_single: int) -> dict[str, Any]:
    """Time both ways in one run and compare their answers."""
    ids, mask, prefix = setup.rows([0])
    setup.model(**model_inputs(setup.model, ids, mask, prefix), use_cache=True)  # warm-up
    slow_answers, slow_seconds, slow_cpu = seconds(lambda: single(setup, decoding, num_single), setup.device)
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


def markdown(report: dict[str, Any]) -> str:
    """Return the report as a Markdown table."""
    columns = {
        "decoding": ("decoding", ""),
        "single_answers_per_second": ("one at a time, no cache (answers/s)", ".2f"),
    }
    columns |= {"batched_answers_per_second": ("batched, cache (answers/s)", ".1f"), "batch_size": ("batch", "d")}
    columns |= {"ratio": ("ratio", ".1f"), "single_cpu_seconds_per_answer": ("CPU seconds per answer, one", ".2f")}
    columns |= {"batched_cpu_seconds_per_answer": ("batched", ".3f"), "cpu_ratio": ("ratio of CPU seconds", ".1f")}
    columns |= {"same_answers": ("same answers", ".0%")}
    return "\n".join(
        [
            "# Decoding: batched with a cache against one question at a time without\n",
            machine_line(report["machine"], "decoding"),
            f"Shapes of distilgpt2, {NUM_VIRTUAL} virtual tokens in front, {GREEDY.max_new_tokens} new tokens. On a "
            "busy machine the ratio of CPU seconds says more than that of wall-clock time. Answers over a bank: "
            "`adaptation.md`.\n",
            table(({"decoding": name, **row} for name, row in report["results"].items()), columns),
        ]
    )


@torch.inference_mode()
def main() -> None:
    """Measure, print and write the results."""
    options = parser(__doc__)
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--questions", type=int, default=64, help="questions for greedy decoding; a quarter for beams")
    options.add_argument("--single", type=int, default=8, help="of them, answered one at a time; a quarter for beams")
    given = options.parse_args()
    device, facts = torch.device(given.device), set_up(given.threads)
    if device.type == "cuda":
        facts["device"] = torch.cuda.get_device_name()
    greedy = Setup(num_questions=given.questions, device=device)
    beams = Setup(num_questions=given.questions // 4, device=device)
    results = {
        "greedy": compare(greedy, GREEDY, given.single),
        "12 diverse beams": compare(beams, BEAMS, given.single // 4),
    }
    report = {"machine": facts, "shape": DISTILGPT2, "results": results}
    write("decoding", report, markdown(report), given.results)


if __name__ == "__main__":
    main()
