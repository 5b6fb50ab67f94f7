"""Small parts and a few documents for the tests of the amortized methods."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch

from cmt_cli.core.objectives import Budget, Objective
from cmt_cli.core.stream import Document, Episode, Episodes, Example, Task
from cmt_cli.layers.aggregation import CrossAttentionSettings
from cmt_cli.layers.compressor import SelfCompression
from cmt_cli.layers.injection import SoftInjection
from cmt_cli.methods.amortized.amortized_method import BankSettings
from cmt_cli.methods.amortized.amortizer import AmortizerSettings, InjectionSettings
from cmt_cli.methods.amortized.cmt import Cmt
from cmt_cli.methods.amortized.cmt_objective import Techniques
from cmt_cli.methods.amortized.mac import Mac

BANK = BankSettings(dtype="float32", pq_bytes_per_token=2, pq_bytes_per_key=0, pq_sample=8, num_probes=None)
WORDS = ["ada", "bo", "cy", "dan", "eve", "flo", "gus", "hal"]


def parts(injection: InjectionSettings | None = None) -> AmortizerSettings:
    return AmortizerSettings(
        compressor=SelfCompression(num_slots=2, rank=2, alpha=2.0, targets="all", max_tokens=64, stride=48),
        question_compressor=None,
        aggregator=CrossAttentionSettings(num_blocks=1, num_heads=2, head_dim=4, ffn_width=8),
        injection=injection or SoftInjection(),
        key_width=4,
    )


def cmt(**changes: Any) -> Cmt:
    values: dict[str, Any] = {
        "memory_aware_objective": True,
        "reconstruction_weight": 0.1,
        "reconstruction_tokens": 4,
        "own_memory_weight": 1.0,
        "margin_weight": 0.1,
        "margin_nats": 0.1,
        "self_matching": True,
        "matching_weight": 0.5,
        "temperature": 0.05,
        "num_past_keys": 8,
        "past_keys_from": 0.0,
        "top_k_aggregation": True,
        "top_k": 2,
        "prior_strength": 1.0,
        "gold_probability": 0.5,
        "gumbel_scale": 0.5,
    }
    techniques = Techniques(**{**values, **changes})
    return Cmt(parts=parts(), techniques=techniques, bank=BANK, encode_batch_size=3, seed=0)


def mac(hierarchy_window: int | None = None) -> Mac:
    return Mac(parts=parts(), hierarchy_window=hierarchy_window, bank=BANK, encode_batch_size=3, seed=0)


def document(index: int) -> Document:
    return Document(id=f"d{index}", text=f"{WORDS[index]} likes the color number {index} very much")


def question(index: int) -> Example:
    prompt = f"What does {WORDS[index]} like?"
    return Example(f"q{index}", prompt, f" {index}", (str(index),), (), (f"d{index}",))


def episodes() -> Episodes:
    return Episodes(train=[Episode((document(i),), (question(i),)) for i in range(len(WORDS))])


def task(*indices: int) -> Task:
    return Task("batch", 0, (), (), [document(i) for i in indices])


class Steps:
    """A gradient loop of a few plain steps; `num_steps` 0 builds the layers and trains nothing."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps

    def on_examples(self, examples: Sequence[Example], budget: Budget | None = None) -> None:
        raise AssertionError("an amortized method trains on an objective of its own")

    def on_objective(self, objective: Objective, budget: Budget | None = None) -> None:
        parameters = [p for group in objective.param_groups() for p in group.parameters]
        optimizer = torch.optim.AdamW(parameters, lr=1e-2)
        rng = random.Random(0)
        for step in range(self.num_steps):
            chosen = rng.sample(range(objective.num_items), 4)
            objective.backward(chosen, micro_batch_size=4, step=step, num_steps=self.num_steps)
            optimizer.step()
            optimizer.zero_grad()
            objective.after_step(step, self.num_steps)
