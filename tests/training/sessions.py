"""A fit session that keeps what the loop gives it, for tests."""

from __future__ import annotations

from collections.abc import Sequence

from cmt_cli.core.objectives import Budget, ParamGroup, State
from cmt_cli.training.trainer import Trainer


class MemorySession:
    def __init__(self, state: State | None = None, stop_after: int | None = None) -> None:
        self.state = state
        self.stop_after = stop_after
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.shown: list[tuple[str, int, int]] = []
        self.num_saves = 0

    def load(self) -> State | None:
        return self.state

    def save(self, state: State) -> None:
        self.state = state
        self.num_saves += 1

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def note_trained(self, groups: Sequence[ParamGroup]) -> None:
        self.num_trained = sum(p.numel() for group in groups for p in group.parameters)

    def progress(self, description: str, done: int, total: int) -> None:
        self.shown.append((description, done, total))

    def stop_requested(self) -> bool:
        return self.stop_after is not None and self.shown[-1][1] >= self.stop_after


def budget(**changes: object) -> Budget:
    values: dict[str, object] = {
        "num_epochs": None,
        "num_steps": 4,
        "batch_size": 4,
        "learning_rate": 0.1,
        "betas": (0.9, 0.999),
        "weight_decay": 0.0,
        "warmup_fraction": 0.0,
        "schedule": "constant",
        "max_grad_norm": 1.0,
        "shuffle": True,
    }
    return Budget(**(values | changes))  # type: ignore[arg-type]


def trainer(**changes: object) -> Trainer:
    values: dict[str, object] = {
        "task": budget(),
        "meta": budget(),
        "micro_batch_size": None,
        "precision": "auto",
        "max_steps": None,
        "log_every_steps": 2,
        "checkpoint_every_seconds": 1e9,
        "seed": 0,
    }
    return Trainer(**(values | changes))  # type: ignore[arg-type]
