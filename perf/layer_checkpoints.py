"""Memory and time of CMT's meta-training step with and without `trainer.checkpoint_layers`, and the gradients of both.

    python perf/layer_checkpoints.py                     # model=tiny; writes perf/results/layer_checkpoints.{md,json}
    python perf/layer_checkpoints.py model=smollm2_135m  # any model and settings, as for `cmt run`; minutes

One backward pass over the questions of a batch with their documents, in one micro-batch. Memory is the peak of the
bytes that autograd keeps, weights not counted. Steps take turns and the best of each counts; on a busy machine CPU
seconds with one thread say more than wall-clock time. Floating point operations are those of torch's counter.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from parts import configured, meta_objective, set_up
from reporting import machine_line, note, parser, table, write
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cmt_cli.core.learner import Learner
from cmt_cli.core.mixed_precision import name_of, num_parameters
from cmt_cli.methods.amortized.episodic_objective import EpisodicObjective


class KeptTensors:
    """Counts the bytes of the storages that autograd keeps, each once; `without` are not counted."""

    def __init__(self, without: Sequence[Tensor]) -> None:
        self.without = {tensor.untyped_storage().data_ptr() for tensor in without}
        self.holders: dict[int, int] = {}
        self.bytes = self.peak = 0

    def hooks(self) -> torch.autograd.graph.saved_tensors_hooks:
        """Return the context in which is counted."""
        return torch.autograd.graph.saved_tensors_hooks(lambda tensor: _Kept(self, tensor), lambda kept: kept.tensor)

    def change(self, tensor: Tensor, holders: int) -> None:
        """Note that a tensor is held once more, 1, or once less, -1."""
        storage = tensor.untyped_storage()
        before = self.holders.get(storage.data_ptr(), 0)
        if storage.data_ptr() in self.without:
            return
        self.holders[storage.data_ptr()] = before + holders
        if 0 in (before, before + holders):
            self.bytes += holders * storage.nbytes()
            self.peak = max(self.peak, self.bytes)


class _Kept:
    def __init__(self, counter: KeptTensors, tensor: Tensor) -> None:
        self.counter, self.tensor = counter, tensor
        counter.change(tensor, 1)

    def __del__(self) -> None:
        self.counter.change(self.tensor, -1)


class Step:
    """One step's gradient, with layers run again or not."""

    def __init__(self, learner: Learner, objective: EpisodicObjective, batch_size: int) -> None:
        self.learner, self.objective, self.items = learner, objective, range(batch_size)
        self.parameters: list[nn.Parameter] = [p for group in objective.param_groups() for p in group.parameters]
        self.dtype = torch.bfloat16 if learner.dtype == torch.bfloat16 else None

    def __call__(self, again: bool) -> None:
        """Compute the gradient; nothing of an earlier step counts."""
        for parameter in self.parameters:
            parameter.grad = None
        checkpoints, precision = self.learner.layer_checkpoints, self.learner.mixed_precision
        with checkpoints.using(again), precision.using(self.dtype):
            self.objective.backward(self.items, micro_batch_size=len(self.items), step=0, num_steps=1)

    def gradients(self, again: bool) -> list[Tensor]:
        """Return the gradients of all trained parameters."""
        self(again)
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in self.parameters]

    def peak_bytes(self, again: bool) -> int:
        """Return the most bytes that autograd keeps at once."""
        counter = KeptTensors([*self.learner.model.parameters(), *self.parameters])
        with counter.hooks():
            self(again)
        return counter.peak

    def operations(self, again: bool) -> int:
        """Return the floating point operations."""
        with FlopCounterMode(display=False) as counter:
            self(again)
        return int(counter.get_total_flops())


def measure(step: Step, rounds: int) -> list[dict[str, Any]]:
    """Return a row for kept activations and one for layers that are run again."""
    rows: list[dict[str, Any]] = [{"layers": "kept"}, {"layers": "run again"}]
    for again, row in enumerate(rows):
        row |= {"mebibytes": step.peak_bytes(bool(again)) / 2**20, "operations": step.operations(bool(again))}
        row |= {"seconds": float("inf"), "cpu_seconds": float("inf")}
    for turn in range(rounds):
        note(f"round {turn + 1} of {rounds}")
        for again, row in enumerate(rows):
            wall, cpu = time.perf_counter(), time.process_time()
            step(bool(again))
            row["seconds"] = min(row["seconds"], time.perf_counter() - wall)
            row["cpu_seconds"] = min(row["cpu_seconds"], time.process_time() - cpu)
    for row in rows:
        for name in ("mebibytes", "operations", "seconds", "cpu_seconds"):
            row[f"{name}_ratio"] = row[name] / rows[0][name]
    return rows


def markdown(record: dict[str, Any]) -> str:
    """Return the report."""
    columns = {"layers": ("activations", ""), "mebibytes": ("kept, MiB", ",.0f"), "mebibytes_ratio": ("share", ".0%")}
    columns |= {"seconds": ("seconds", ".2f"), "seconds_ratio": ("times", ".2f")}
    columns |= {"cpu_seconds": ("CPU seconds", ".2f"), "cpu_seconds_ratio": ("times", ".2f")}
    columns |= {"operations": ("operations", ".2e"), "operations_ratio": ("times", ".2f")}
    return "\n".join(
        [
            "# Layer checkpoints\n",
            machine_line(record["machine"], "layer_checkpoints"),
            f"`{' '.join(record['settings'])}`: {record['parameters'] / 1e6:.0f} M parameters in {record['dtype']}, a "
            f"meta-training step of {record['batch_size']} questions with their documents in one micro-batch.\n",
            table(record["rows"], columns),
            f"Largest difference of a gradient between the two: {record['difference']:.1e}.\n",
        ]
    )


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__)
    options.add_argument("settings", nargs="*", help="as for `cmt run`; the default is model=tiny")
    options.add_argument("--batch-size", type=int, default=32, help="questions of the step")
    options.add_argument("--rounds", type=int, default=3, help="steps of each kind that are timed")
    given = options.parse_args()
    facts = set_up(given.threads)
    settings = ["method=cmt", "data=streamingqa", "data.source=generated", *(given.settings or ["model=tiny"])]
    job = configured(*settings, "logger=none")
    learner = job.build("model")
    step = Step(learner, meta_objective(job, learner, 2 * given.batch_size), given.batch_size)
    kept, again = (step.gradients(again) for again in (False, True))
    record = {
        "machine": facts,
        "settings": settings,
        "parameters": num_parameters(learner.model),
        "dtype": name_of(learner.dtype),
        "batch_size": given.batch_size,
        "difference": max(float((one - other).abs().max()) for one, other in zip(kept, again, strict=True)),
        "rows": measure(step, given.rounds),
    }
    write("layer_checkpoints", record, markdown(record), given.results)


if __name__ == "__main__":
    main()
