"""A run in two processes is the run in one: same matrix and answers, same weights up to rounding, also when killed."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.method import Method
from cmt_cli.distributed.sharding import refuse_unsharded
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.layers.prompts import SoftPrompt
from cmt_cli.layers.trainable import Full, Unchanged
from cmt_cli.methods.combination import Combination
from cmt_cli.methods.regularization.l2 import L2
from cmt_cli.methods.sequential.finetune import FineTune
from cmt_cli.running import job_run
from cmt_cli.running.run_files import read_predictions, read_result
from cmt_cli.running.scores import read_cells
from tests.command_line import job
from tests.distributed.launched import main, outputs, start

SHARDED = ("finetune", "lora", "replay", "ewc")  # all weights of the model, and adapters beside sharded weights
METHODS = ("finetune", "lora", "replay", "ewc", "distillation", "agem", "cmt", "mbc")
SMALL = (
    "model=tiny",
    "model.device=cpu",
    "trainer=smoke",
    "logger=none",
    "evaluator.decoding.max_new_tokens=4",
    "evaluator.decoding.batch_size=4",
    "data.num_tasks=2",
)
LABELLED = ("data=world_classification", "data.limits.max_train=12", "data.limits.max_test=5")
# Five rows for two processes: shares of three and two, cut into forward passes of at most two.
UNEVEN = (
    "trainer.task.batch_size=5",
    "trainer.task.num_epochs=2",
    "trainer.micro_batch_size=2",
    "trainer.task.learning_rate=3e-4",  # Adam moves weights whose gradient is 0 but for rounding by the rate
)
DOCUMENTS = (
    "data=streamingqa",
    "data.source=generated",
    "data.generated.num_train_documents=8",
    "data.generated.num_validation_documents=2",
    "data.generated.num_test_documents=4",
    "evaluator.max_examples_per_test=5",
    "trainer.meta.batch_size=5",
    "trainer.micro_batch_size=2",
    "trainer.meta.learning_rate=2e-5",  # as above
)


class CMT(Method):
    """Stands for all methods that say nothing of sharded weights."""


def places(root: Path, runs: Path) -> list[str]:
    return [f"paths.runs={runs}", f"paths.data={root}", f"paths.cache={root / 'cache'}"]


def overrides(method: str, root: Path, runs: Path, distributed: str) -> list[str]:
    data = (*DOCUMENTS, "trainer.max_steps=3") if method in ("cmt", "mbc") else (*LABELLED, *UNEVEN)
    adapter = ("trainable@method.trainable=lora",) if method == "ewc" else ()  # all that it trains of sharded weights
    return [f"method={method}", *adapter, *SMALL, *data, *places(root, runs), f"trainer.distributed={distributed}"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def both(root: Path) -> tuple[Path, Path, Path]:
    """Every method in one process, and again in one pair of processes, with the weights sharded where that works."""
    alone = [overrides(method, root, root / "one", "none") for method in METHODS]
    shared = [overrides(method, root, root / "two", "ddp") for method in METHODS]
    shared += [overrides(method, root, root / "sharded", "fsdp2") for method in SHARDED]
    (root / "one.json").write_text(json.dumps(alone))
    (root / "two.json").write_text(json.dumps(shared))
    main(str(root / "one.json"))
    for code, text in outputs(start(["-m", "tests.distributed.launched", str(root / "two.json")])):
        assert code == 0, text
    return root / "one", root / "two", root / "sharded"


def folder_of(runs: Path, method: str) -> Path:
    (found,) = runs.glob(f"{method}-*")
    return found


def weights(folder: Path) -> dict[str, Tensor]:
    slot = folder / "checkpoint" / "state"
    return load_file(slot / (slot / "latest").read_text().strip() / "state.safetensors")


def answers(folder: Path, row: int) -> list[dict[str, Any]]:
    """Return a row's predictions; of a document's weight, a float of the model, five digits."""
    found = read_predictions(folder, row)
    rounded = [[[name, pytest.approx(weight, abs=1e-4)] for name, weight in p["documents"]] for p in found]
    return [{**p, "documents": documents} for p, documents in zip(found, rounded, strict=True)]


def assert_same_run(one: Path, two: Path) -> None:
    """Compare scores and answers exactly, and weights up to what rounding makes of them in Adam's first steps.

    Gradients are compared in tests/training/test_shares.py and tests/core/test_all_gather.py.
    """
    assert one.name == two.name  # `trainer.distributed` is no setting of the experiment
    assert read_cells(one / "scores.csv") == read_cells(two / "scores.csv")
    for row in range(3):
        assert read_predictions(two, row) == answers(one, row)
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name].float(), value.float(), atol=3e-4, rtol=1e-3, msg=name)
    distance = sum((value.double() - second[name].double()).square().sum() for name, value in first.items())
    assert distance**0.5 < 1e-5 * sum(value.double().square().sum() for value in first.values()) ** 0.5


@pytest.mark.parametrize("method", METHODS)
def test_matrix_and_answers_do_not_depend_on_world_size(both: tuple[Path, Path, Path], method: str) -> None:
    assert_same_run(folder_of(both[0], method), folder_of(both[1], method))


@pytest.mark.parametrize("method", SHARDED)
def test_nor_on_whether_each_process_holds_all_weights(both: tuple[Path, Path, Path], method: str) -> None:
    assert_same_run(folder_of(both[0], method), folder_of(both[2], method))


@pytest.mark.parametrize("method", ["ewc", "cmt", "mbc"])
def test_only_rank_zero_writes_and_logs_whole_batches(both: tuple[Path, Path, Path], method: str) -> None:
    one, two = (events(folder_of(runs, method)) for runs in both[:2])
    assert [event["event"] for event in two] == [event["event"] for event in one]
    assert [event["num_processes"] for event in two if event["event"] == "start"] == [2]
    for alone, shared in zip(one, two, strict=True):
        if alone["event"] == "train":
            assert shared["values"] == pytest.approx(alone["values"], rel=1e-3, abs=1e-6)


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def wait_for(path: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} was not written"
        time.sleep(0.02)


def cli(arguments: Sequence[str]) -> list[str]:
    return ["-m", "cmt_cli", "run", *arguments]


def test_methods_that_read_full_weights_are_refused_early() -> None:
    reason = "CMT reads or changes whole weights"
    with pytest.raises(UserError, match=f"shards the model's weights: {reason}"):
        refuse_unsharded(CMT(), {})
    adapters = FineTune(trainable=Lora(rank=1, alpha=1.0, targets="all", seed=0))
    refuse_unsharded(adapters, {"quantization": None})
    with pytest.raises(UserError, match=r"model\.quantization=nf4"):
        refuse_unsharded(adapters, {"quantization": "nf4"})
    prompts = SoftPrompt(num_virtual=1, text=None, num_common=1, seed=0)
    with pytest.raises(UserError, match=r"can train Full or Lora then, not SoftPrompt"):
        refuse_unsharded(FineTune(trainable=prompts), {})


def test_a_subclass_must_restate_what_it_trains_sharded() -> None:
    class Child(FineTune):
        pass

    whole = Full(num_frozen_blocks=0)
    refuse_unsharded(FineTune(trainable=whole), {})
    with pytest.raises(UserError, match="Child reads or changes whole weights"):
        refuse_unsharded(Child(trainable=whole), {})


def test_a_combination_is_refused_on_sharded_weights() -> None:
    adapters = FineTune(trainable=Lora(rank=1, alpha=1.0, targets="all", seed=0))
    penalty = L2(trainable=Unchanged(), weight=1.0, normalize="sum")
    method = Combination(methods={"lora": adapters, "l2": penalty}, order=["lora", "l2"])
    with pytest.raises(UserError, match="Combination reads or changes whole weights"):
        refuse_unsharded(method, {})


@pytest.mark.slow
def test_a_dead_rank_ends_all_and_any_number_continues(root: Path) -> None:
    long = ("trainer.max_steps=25", "trainer.task.num_epochs=20", "trainer.checkpoint_every_seconds=0.5")
    whole, killed = root / "whole", root / "killed"
    alone = [*overrides("replay", root, whole, "none"), *long]
    job_run.run(job(*alone))
    folder = killed / folder_of(whole, "replay").name

    processes = start(cli([*overrides("replay", root, killed, "ddp"), *long]))
    wait_for(folder / "checkpoint" / "fit" / "latest")
    processes[1].kill()
    (code, text), _ = outputs(processes)
    assert code == 1 and "ProcessLost: Another process of this run has ended" in text
    result = read_result(folder)
    assert result is not None and result.status == "failed"

    processes = start(cli([*overrides("replay", root, killed, "fsdp2"), *long]))
    wait_for(folder / "checkpoint" / "state" / "2", seconds=90)  # the first task is learned
    processes[1].send_signal(signal.SIGTERM)
    for code, text in outputs(processes):
        assert code == 128 + signal.SIGTERM, text
    job_run.run(job(*overrides("replay", root, killed, "none"), *long))
    assert_same_run(folder_of(whole, "replay"), folder)
