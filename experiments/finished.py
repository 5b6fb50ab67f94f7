"""A finished run of a banked method (cmt, mac), loaded to be evaluated with another bank or over another stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cmt_cli.core.batch import Predictor
from cmt_cli.core.learner import Learner
from cmt_cli.core.objectives import Budget, Objective
from cmt_cli.core.stream import Example, Stream
from cmt_cli.evaluation.evaluator import Evaluator, TestScore
from cmt_cli.memory.document_bank import DocumentBank
from cmt_cli.methods.amortized.amortized_method import BankedMethod
from cmt_cli.running import job
from cmt_cli.running.restore import restore
from cmt_cli.running.store import RunStore


class FinishedRun:
    """Weights as they were trained, and a bank in RAM: nothing of the run's folder is changed."""

    def __init__(self, folder: Path) -> None:
        self.job = job.load(folder, ())
        self.stream: Stream = self.job.build("data")
        self.learner: Learner = self.job.build("model")
        self.method: BankedMethod = self.job.build("method")
        with RunStore(folder, self.job.identity, self.job.saved) as store:
            if restore(self.learner, self.method, episodes=self.stream.episodes, store=store) is None:
                raise SystemExit(f"{folder} holds no saved state.")
        self.settings = self.method.bank_settings
        self.method.folder = None

    def larger_stream(self, num_documents: int) -> Stream:
        """Return the run's generated stream with more documents in as many batches."""
        data: Mapping[str, Any] = self.job.config["data"]
        changed = {
            **data,
            "generated": {**data["generated"], "num_test_documents": num_documents},
            "selection": {**data["selection"], "max_test_documents": None},
        }
        stream: Stream = replace(self.job, config={**self.job.config, "data": changed}).build("data")
        return stream

    def fill(self, stream: Stream, changes: Mapping[str, Any]) -> DocumentBank:
        """Learn a stream's documents into an empty bank whose settings differ from the run's by `changes`."""
        method = self.method
        method.bank_settings = replace(self.settings, **changes)
        method.open_memory(self.learner)
        if method.bank.needs_quantizer:
            method.fit_quantizer([d for e in stream.episodes.train for d in e.support])
        for task in stream.tasks:
            method.learn(self.learner, task, NoFit())
        return method.bank

    def ask(self, predictor: Predictor, stream: Stream) -> list[TestScore]:
        """Ask the questions of all batches."""
        evaluator: Evaluator = self.job.build("evaluator")
        return evaluator.evaluate(
            predictor,
            stream.tests,
            row=len(stream.tasks),
            progress=lambda *_: None,
            stop_requested=lambda: False,
        )


def mean(tests: Sequence[TestScore], metric: str) -> float | None:
    """Return the mean of a metric over all questions; None where no answer has it."""
    values = [record["scores"][metric] for test in tests for record in test.predictions if metric in record["scores"]]
    return sum(values) / len(values) if values else None


class NoFit:
    """Learning a document takes no gradient."""

    def on_examples(self, examples: Sequence[Example], budget: Budget | None = None) -> None:
        """Never called by a banked method."""
        raise AssertionError("a banked method learns without gradients")

    def on_objective(self, objective: Objective, budget: Budget | None = None) -> None:
        """Never called by a banked method."""
        raise AssertionError("a banked method learns without gradients")
