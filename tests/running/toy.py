"""The smallest run: eight weights that drift at random, a method that takes notes in a file, an evaluator that reads
scores off the weights. Milliseconds per run, so that it can be killed everywhere. Also a program: see `main`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cmt_cli.core.exceptions import Interrupted, NonFiniteLoss
from cmt_cli.core.objectives import ParamGroup
from cmt_cli.core.process_group import SINGLE_PROCESS, ProcessGroup
from cmt_cli.core.prompt_format import PromptFormat
from cmt_cli.core.stream import Document, Episodes, Example, Provenance, Stream, Task, TestSet
from cmt_cli.running.identity import Identity, config_hash
from cmt_cli.running.signals import StoppedBySignal
from cmt_cli.running.store import RunStore
from cmt_cli.running.stream_loop import run_stream

NUM_STEPS = 6


class ToyLearner:
    name, revision, device, dtype = "toy-8", "main", torch.device("cpu"), torch.float32
    processes = SINGLE_PROCESS
    files: Mapping[str, str] = {}
    prompt_format = PromptFormat()

    def __init__(self) -> None:
        self.model = nn.Linear(8, 1, bias=False)
        nn.init.zeros_(self.model.weight)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.model.load_state_dict(state)


class ToyMethod:
    """Learn by fit, then append a line of random digits per document to a file of its own."""

    def attach(self, folder: Path) -> None:
        self.notes = folder / "notes.txt"

    def before_stream(self, learner: ToyLearner, episodes: Episodes, fit: Any) -> None:
        self.importance = torch.zeros(8, dtype=torch.bfloat16)
        fit.on_examples([])

    def before_task(self, learner: ToyLearner, task: Task) -> None:
        learner.model.weight.data += torch.rand(8) / 100  # from the global generator, as dropout would

    def learn(self, learner: ToyLearner, task: Task, fit: Any) -> None:
        fit.on_examples(task.train)
        with self.notes.open("a") as file:
            for document in task.documents:
                file.write(f"{document.id} {torch.randint(10**9, ()).item():010d}\n")

    def after_task(self, learner: ToyLearner, task: Task) -> None:
        self.importance += learner.model.weight[0].detach().abs().to(torch.bfloat16)

    def param_groups(self, learner: ToyLearner) -> list[ParamGroup]:
        return [ParamGroup(list(learner.model.parameters()))]

    def predictor(self, learner: ToyLearner, task_index: int) -> Any:
        notes = self.notes.read_text() if self.notes.exists() else ""
        return learner.model.weight.detach().sum().item() + 1e-9 * sum(map(int, notes.split()[1::2]))

    def state_dict(self) -> dict[str, Any]:
        lines = self.notes.read_text().count("\n") if self.notes.exists() else 0
        return {"importance": self.importance, "num_notes": lines}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.importance = state["importance"]
        if self.notes.exists():
            kept = self.notes.read_text().splitlines(keepends=True)[: state["num_notes"]]
            self.notes.write_text("".join(kept))

    def storage_bytes(self) -> int:
        return self.notes.stat().st_size if self.notes.exists() else 0


@dataclass
class ToyTrainer:
    """Add noise to the weights `NUM_STEPS` times, saving after every second step."""

    seconds_per_step: float = 0.0
    on_step: Callable[[int], None] = field(default=lambda step: None)

    def bind(self, learner: ToyLearner, method: ToyMethod, session: Any, *, between_steps: Any = None) -> ToyFit:
        return ToyFit(self, learner, method, session, between_steps)


@dataclass
class ToyFit:
    trainer: ToyTrainer
    learner: ToyLearner
    method: ToyMethod
    session: Any
    between_steps: Callable[[int], None] | None

    def on_examples(self, examples: Sequence[Example], budget: None = None) -> None:
        self.session.note_trained(self.method.param_groups(self.learner))
        weight, first = self.learner.model.weight.data, 0
        saved = self.session.load()
        if saved is not None:
            weight.copy_(saved["weight"])
            torch.set_rng_state(saved["generator"])
            first = saved["step"]
        for step in range(first, NUM_STEPS):
            if self.between_steps is not None and step > 0:
                self.between_steps(step)
            self.trainer.on_step(step)
            weight += 0.1 * torch.randn_like(weight)
            if not torch.isfinite(weight).all():
                raise NonFiniteLoss("the loss became nan")
            self.session.log({"loss": float(weight.sum()), "tokens": 100.0 * (step + 1)}, step + 1)
            self.session.progress("drifting", step + 1, NUM_STEPS)
            stop = self.session.stop_requested()
            if step % 2 or stop:
                self.session.save({"weight": weight, "generator": torch.get_rng_state(), "step": step + 1})
            if stop:
                raise Interrupted(f"after step {step + 1}")
            time.sleep(self.trainer.seconds_per_step)


@dataclass
class ToyScore:
    test: str
    scores: dict[str, float | None]
    predictions: list[dict[str, Any]]
    signatures: dict[str, str] = field(default_factory=dict)


@dataclass
class ToyEvaluator:
    every_steps: int | None = None

    def check_lengths(self, learner: ToyLearner, tests: Sequence[TestSet]) -> str:
        return ""

    def note(self, tests: Sequence[TestSet]) -> str:
        return ""

    def evaluate(
        self,
        predictor: float,
        tests: Sequence[TestSet],
        *,
        row: int,
        progress: Callable[[str, int, int], None],
        stop_requested: Callable[[], bool],
        processes: ProcessGroup = SINGLE_PROCESS,
    ) -> list[ToyScore]:
        if stop_requested():
            raise Interrupted("stopped while answering")
        scores = []
        for i, test in enumerate(tests):
            value = float(torch.sigmoid(torch.tensor(predictor + i)))
            records = [
                {"test": test.name, "id": e.id, "prompt": e.prompt, "prediction": f"{value}", "documents": [["d", 1.0]]}
                for e in test.examples
            ]
            scores.append(ToyScore(test.name, {"em": value, "f1": value / 2, "recall_at_1": None}, records))
            progress("answering questions", i + 1, len(tests))
        return scores


def toy_stream(num_tasks: int = 3, *, source: str = "generated", sha256: str = "", split: str = "test") -> Stream:
    tasks, tests = [], []
    for i in range(num_tasks):
        documents = [Document(f"d{i}-{n}", f"text {i} {n}") for n in range(4)]
        tasks.append(Task(f"batch {i}", i, [d.as_example() for d in documents], documents=documents))
        questions = [Example(f"q{i}-{n}", f"Question: {i} {n}?", f" {n}", (str(n),)) for n in range(2)]
        tests.append(TestSet(f"batch-{i}", questions, "em", i))
    files = {"train.csv": sha256} if sha256 else {}
    provenance = Provenance("toy", source, "none", files, split=split)  # type: ignore[arg-type]
    return Stream("toy", tasks, tests, Episodes(), provenance)


def toy_store(folder: Path, *, seed: int = 0, config: dict[str, Any] | None = None) -> RunStore:
    settings = {"method": {"_target_": "toy", "strength": 1.0, "seed": seed}, "seed": seed, **(config or {})}
    names = {"method": "drift", "data": "toy", "model": "toy"}
    return RunStore(folder, Identity(**names, seed=seed, config_hash=config_hash(settings)), settings)


def run_toy(folder: Path, *, trainer: ToyTrainer | None = None, seed: int = 0, **parts: Any) -> Any:
    """Run, or continue, in `folder` with fresh parts, as a new process would."""
    defaults: dict[str, Any] = {
        "trainer": trainer or ToyTrainer(),
        "learner": ToyLearner(),
        "method": ToyMethod(),
        "stream": toy_stream(),
        "evaluator": ToyEvaluator(),
        "loggers": [],
    }
    with toy_store(folder, seed=seed) as store:
        return run_stream(**{**defaults, **parts}, store=store)


_MEASURED = ("train_seconds", "eval_seconds", "adapt_seconds_per_document", "answer_ms_per_question")


def record_without_times(folder: Path) -> dict[str, Any]:
    """Return result.json without what a clock, the process's memory or work on the repository decides."""
    record = json.loads((folder / "result.json").read_text())
    del record["git_commit"]
    for name in (*_MEASURED, "peak_memory_bytes"):
        assert record["cost"].pop(name) is not None, name
    return record


def main(folder: str, seconds_per_step: str) -> int:
    """Run the toy in `folder`; exit as the command line does."""
    try:
        result = run_toy(Path(folder), trainer=ToyTrainer(float(seconds_per_step)))
    except StoppedBySignal as stop:
        print(stop)
        return stop.exit_code
    print(result.status)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
