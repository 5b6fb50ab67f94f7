"""Time, memory and tokens of each phase of a run: one record per phase, so that a repeated one is counted once."""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from cmt_cli.core.atomic import write_json
from cmt_cli.core.result import Cost
from cmt_cli.running.run_files import reading

BEFORE_STREAM = "before_stream"


def learn_phase(task_index: int) -> str:
    """Return the name of the phase that learns a task; -1 is meta-training, before the stream."""
    return f"learn:{task_index}" if task_index >= 0 else BEFORE_STREAM


def num_learned(phase: str) -> int:
    """Return how many tasks have been learned at the end of a phase that `learn_phase` names."""
    return 0 if phase == BEFORE_STREAM else int(phase.removeprefix("learn:")) + 1


def evaluate_phase(task_index: int) -> str:
    """Return the name of the phase that fills the row after a task; -1 is row 0."""
    return f"evaluate:{task_index}"


@dataclass(slots=True)
class PhaseRecord:
    """One phase's use. Seconds are wall-clock; `steps` are optimizer steps; `tokens` those that were trained on.

    `eval_seconds` is the part of a learning phase's seconds that went into answering questions inside the task.
    `probe_seconds` and `probe_questions` are those of an evaluating phase's seconds and questions that went into
    general probes. `truncated` counts the prompts that were longer than the model, by test set; it lists every test
    that was evaluated.
    """

    seconds: float = 0.0
    steps: int = 0
    tokens: int = 0
    documents: int = 0
    questions: int = 0
    trainable_parameters: int = 0
    peak_memory_bytes: int = 0
    eval_seconds: float = 0.0
    probe_seconds: float = 0.0
    probe_questions: int = 0
    truncated: dict[str, int] = field(default_factory=dict)


class Ledger:
    """The records of a run by phase, in a JSON file."""

    def __init__(self, path: Path) -> None:
        """Read `path` where it exists."""
        self._path = path
        self.phases: dict[str, PhaseRecord] = {}
        if path.exists():
            with reading(path, "Remove it: then what the run has used so far is not counted."):
                saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                self.phases = {name: PhaseRecord(**record) for name, record in saved.items()}

    def save(self) -> None:
        """Write the file."""
        write_json(self._path, {name: asdict(record) for name, record in self.phases.items()})

    def keep(self, phases: set[str]) -> None:
        """Forget all phases but these: the others will be repeated."""
        self.phases = {name: record for name, record in self.phases.items() if name in phases}

    def num_steps(self) -> int:
        """Return the optimizer steps of all recorded phases."""
        return sum(record.steps for record in self.phases.values())

    def truncated(self) -> dict[str, int]:
        """Return how many prompts of each test set were cut when it was evaluated last, where any was."""
        evaluating = [
            (int(name.partition(":")[2]), r) for name, r in self.phases.items() if name.startswith("evaluate:")
        ]
        last: dict[str, int] = {}
        for _, record in sorted(evaluating, key=lambda pair: pair[0]):
            last |= record.truncated
        return {test: number for test, number in last.items() if number}

    def cost(self, *, storage_bytes: int) -> Cost:
        """Add the phases up. Seconds per document and per question are means over the whole stream, without probes."""
        learning = [r for name, r in self.phases.items() if name.startswith("learn:")]
        evaluating = [r for name, r in self.phases.items() if name.startswith("evaluate:")]
        before = [r for name, r in self.phases.items() if name == BEFORE_STREAM]
        every = [*before, *learning, *evaluating]
        learn_seconds = sum(r.seconds - r.eval_seconds for r in learning)
        eval_seconds = sum(r.seconds for r in evaluating) + sum(r.eval_seconds for r in learning)
        answer_seconds = eval_seconds - sum(r.probe_seconds for r in evaluating)
        documents = sum(r.documents for r in learning)
        questions = sum(r.questions - r.probe_questions for r in every)
        return Cost(
            train_seconds=sum(r.seconds for r in before) + learn_seconds,
            eval_seconds=eval_seconds,
            adapt_seconds_per_document=learn_seconds / documents if documents else None,
            answer_ms_per_question=1000 * answer_seconds / questions if questions else None,
            tokens=sum(r.tokens for r in every),
            trainable_parameters=max((r.trainable_parameters for r in every), default=0),
            storage_bytes=storage_bytes,
            peak_memory_bytes=max((r.peak_memory_bytes for r in every), default=0),
        )


def peak_memory_bytes(device: torch.device) -> int:
    """Return the process's peak: allocated memory on a CUDA device, else resident memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB
