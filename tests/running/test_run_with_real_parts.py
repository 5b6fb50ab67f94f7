"""The loop with a real model, method, trainer and evaluator: fine-tuning a tiny Llama on two batches of documents."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.result import RunResult
from cmt_cli.core.stream import Document, Episodes, Example, Provenance, Stream, Task, TestSet
from cmt_cli.evaluation.evaluator import Evaluator
from cmt_cli.running.loggers import ConsoleLogger, NullLogger
from cmt_cli.running.stream_loop import run_stream
from tests.running.toy import record_without_times, toy_store
from tests.training.sessions import budget, trainer


def two_batches() -> Stream:
    tasks, tests = [], []
    for i, person in enumerate(("Ada", "Ben")):
        documents = [Document(f"d{i}{n}", f"{person} moved to town {n} and works as a baker.") for n in range(4)]
        tasks.append(Task(f"batch {i}", i, [d.as_example() for d in documents], documents=documents))
        question = Example(
            f"q{i}", f"Question: Where does {person} live?\nAnswer:", " town", ("town",), (), (f"d{i}0",)
        )
        tests.append(TestSet(f"batch-{i}", [question], "em", i))
    return Stream("two", tasks, tests, Episodes(), Provenance("two", "generated", "none"))


class Bomb(NullLogger):
    """End the process, so to speak, when a given optimizer step of the run is logged."""

    def __init__(self, step: int) -> None:
        self._step = step

    def log(self, values: Mapping[str, float], step: int) -> None:
        if step == self._step:
            raise KeyboardInterrupt


def run(
    folder: Path, learner: Learner, *loggers: Any, every_steps: int | None = None, stream: Stream | None = None
) -> RunResult:
    decoding = Decoding(max_new_tokens=4, batch_size=2, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
    with toy_store(folder) as store:
        return run_stream(
            learner=learner,
            method=Method(),
            stream=stream or two_batches(),
            trainer=trainer(
                task=budget(learning_rate=0.01, num_steps=6), log_every_steps=1, checkpoint_every_seconds=0.0
            ),
            evaluator=Evaluator(decoding=decoding, rows="all", max_examples_per_test=None, every_steps=every_steps),
            store=store,
            loggers=loggers,
        )


def predictions(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / "predictions").iterdir())
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.parametrize("step", [2, 6, 9])
def test_a_run_killed_mid_fit_continues_bit_for_bit(
    make_learner: Callable[[str], Learner], tmp_path: Path, step: int
) -> None:
    run(tmp_path / "whole", make_learner("llama"))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", make_learner("llama"), Bomb(step))
    assert json.loads((tmp_path / "killed" / "result.json").read_text())["status"] == "interrupted"
    run(tmp_path / "killed", make_learner("llama"))
    assert record_without_times(tmp_path / "killed") == record_without_times(tmp_path / "whole")
    assert predictions(tmp_path / "killed") == predictions(tmp_path / "whole")
    weights = [tmp_path / name / "checkpoint" / "state" for name in ("whole", "killed")]
    saved = [(w / (w / "latest").read_text().strip() / "state.safetensors").read_bytes() for w in weights]
    assert saved[0] == saved[1]


def test_cost_counts_what_was_trained(make_learner: Callable[[str], Learner], tmp_path: Path) -> None:
    learner = make_learner("llama")
    result = run(tmp_path, learner)
    assert result.cost.trainable_parameters == sum(p.numel() for p in learner.model.parameters())
    assert result.model["num_parameters"] == result.cost.trainable_parameters
    rows = [len(learner.rows(e)[0].input_ids) for task in two_batches().tasks for e in task.train]
    assert result.cost.tokens == 6 * sum(rows)  # six steps per task, each on all four documents of it
    assert [p["id"] for p in predictions(tmp_path)] == ["q0", "q1"] * 3


def test_cut_prompts_are_counted_by_test_in_the_record(make_learner: Callable[[str], Learner], tmp_path: Path) -> None:
    stream = two_batches()
    long = Example("long", "word " * 200, " town", ("town",))
    tests = [replace(stream.tests[0], examples=[*stream.tests[0].examples, long]), stream.tests[1]]
    console = Console(file=io.StringIO(), width=200)
    result = run(tmp_path, make_learner("llama"), ConsoleLogger(console), stream=replace(stream, tests=tests))
    assert result.truncated == {"batch-0": 1}
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["truncated"] == {"batch-0": 1}
    assert RunResult.from_json(written) == result
    assert RunResult.from_json({k: v for k, v in written.items() if k != "truncated"}).truncated == {}
    assert "1 prompt was longer than model.max_tokens" in console.file.getvalue()  # type: ignore[attr-defined]
