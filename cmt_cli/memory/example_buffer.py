"""Examples kept of past tasks, by five policies that know no method: which examples stay, not how they are used.

    Reservoir   every example seen so far is kept with the same probability (algorithm R, Vitter 1985)
    PerTask     a reservoir of its own for each task         PerClass   one for each target text
    Ring        the newest examples
    Herding     of each task the example nearest to each centroid of a k-means over features that the caller gives, as
                in episodic-memory relation extraction (Han et al. 2020, EMAR); iCaRL's greedy mean matching is another

Item number n of a reservoir (from 0) takes slot j, drawn uniformly from 0..n, if j < capacity. The draw is seeded by
(seed, group, n), so there is no generator to save and the content does not depend on how the stream was cut into calls.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.objectives import State
from cmt_cli.core.setting_checks import positive
from cmt_cli.core.stream import Example
from cmt_cli.memory.kmeans import kmeans, nearest

KMEANS_ITERATIONS = 100  # Lloyd's algorithm stops earlier once no vector changes its centroid

Features = Callable[[Sequence[Example]], Tensor]  # one vector per example, [n, width]


@dataclass(frozen=True, slots=True)
class Entry:
    """A kept example and the index of the task that it came with."""

    example: Example
    task: int


class ExampleBuffer(ABC):
    """What all policies share: entries in a stable order, their state and their size."""

    def __init__(self) -> None:
        """Start empty."""
        self._groups: dict[str, list[Entry]] = {}

    @property
    def entries(self) -> list[Entry]:
        """Return all entries, group by group."""
        return [entry for group in self._groups.values() for entry in group]

    def check(self, examples: Sequence[Example]) -> None:  # noqa: B027 - most policies take everything
        """Raise UserError for examples that this policy cannot tell apart; before training rather than after."""

    @abstractmethod
    def add(self, examples: Sequence[Example], *, task: int, features: Features) -> None:
        """Offer a task's examples; `features` is called by the policies that look at the content."""

    def state_dict(self) -> State:
        """Return the entries as JSON values."""
        groups = {name: [_record(entry) for entry in group] for name, group in self._groups.items()}
        return {"groups": groups}

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned; drop all other content."""
        self._groups = {name: [_entry(record) for record in group] for name, group in state["groups"].items()}

    def storage_bytes(self) -> int:
        """Return the bytes of the kept prompts and targets in UTF-8."""
        return sum(len((entry.example.prompt + entry.example.target).encode()) for entry in self.entries)


class _GroupedReservoir(ExampleBuffer):
    """A reservoir of `capacity` examples for each group."""

    def __init__(self, capacity: int, seed: int) -> None:
        super().__init__()
        self._capacity = capacity
        self._seed = seed
        self._num_seen: dict[str, int] = {}

    @abstractmethod
    def group(self, example: Example, task: int) -> str:
        """Return the name of the group that an example belongs to."""

    @override
    def add(self, examples: Sequence[Example], *, task: int, features: Features) -> None:
        for example in examples:
            name = self.group(example, task)
            group = self._groups.setdefault(name, [])
            num_seen = self._num_seen.get(name, 0)
            slot = reservoir_slot(num_seen, self._capacity, f"reservoir {self._seed} {name}")
            if slot is not None:
                group[slot : slot + 1] = [Entry(example, task)]
            self._num_seen[name] = num_seen + 1

    @override
    def state_dict(self) -> State:
        return {**super().state_dict(), "num_seen": dict(self._num_seen)}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._num_seen = dict(state["num_seen"])


class Reservoir(_GroupedReservoir):
    """A uniform sample of all examples seen so far."""

    def __init__(self, *, capacity: int, seed: int) -> None:
        """Keep `capacity` examples in all."""
        super().__init__(int(positive(capacity, "buffer.capacity")), seed)

    @override
    def group(self, example: Example, task: int) -> str:
        return "all"


class PerTask(_GroupedReservoir):
    """A uniform sample of each task."""

    def __init__(self, *, examples_per_task: int, seed: int) -> None:
        """Keep `examples_per_task` of each task; the buffer grows with the stream."""
        super().__init__(int(positive(examples_per_task, "buffer.examples_per_task")), seed)

    @override
    def group(self, example: Example, task: int) -> str:
        return str(task)


class PerClass(_GroupedReservoir):
    """A uniform sample of each class; an example's class is its target."""

    def __init__(self, *, examples_per_class: int, seed: int) -> None:
        """Keep `examples_per_class` of each class, whichever task they came with."""
        super().__init__(int(positive(examples_per_class, "buffer.examples_per_class")), seed)

    @override
    def check(self, examples: Sequence[Example]) -> None:
        """Raise UserError for texts without a prompt, each of which would be a class of its own."""
        unlabelled = next((example for example in examples if not example.prompt), None)
        if unlabelled is not None:
            raise UserError(
                f"The buffer per_class keeps examples by their label, but '{unlabelled.id}' is a text without one. Use "
                "buffer@method.buffer=per_task, reservoir, ring or herding, or a labelled stream."
            )

    @override
    def group(self, example: Example, task: int) -> str:
        return example.target.strip()


class Ring(ExampleBuffer):
    """The newest examples."""

    def __init__(self, *, capacity: int) -> None:
        """Keep `capacity` examples in all."""
        super().__init__()
        self._capacity = int(positive(capacity, "buffer.capacity"))

    @override
    def add(self, examples: Sequence[Example], *, task: int, features: Features) -> None:
        self._groups = {"all": [*self.entries, *(Entry(example, task) for example in examples)][-self._capacity :]}


class Herding(ExampleBuffer):
    """Of each task the examples nearest to the centroids of its features."""

    def __init__(self, *, examples_per_task: int, seed: int) -> None:
        """Keep `examples_per_task` of each task; `seed` draws the first centroids."""
        super().__init__()
        self._quota = int(positive(examples_per_task, "buffer.examples_per_task"))
        self._seed = seed

    @override
    def add(self, examples: Sequence[Example], *, task: int, features: Features) -> None:
        """Keep one example for each of the task's centroids, in stream order."""
        if not examples:
            return
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + task)
        chosen = herded(features(examples), self._quota, generator)
        self._groups[str(task)] = [Entry(examples[i], task) for i in chosen]


def reservoir_slot(num_seen: int, capacity: int, seed: str) -> int | None:
    """Return the slot that item number `num_seen` (from 0) takes, or None where it is dropped (algorithm R)."""
    if num_seen < capacity:
        return num_seen
    slot = random.Random(f"{seed} {num_seen}").randint(0, num_seen)
    return slot if slot < capacity else None


def herded(features: Tensor, num: int, generator: torch.Generator) -> list[int]:
    """Return the sorted indices of `num` vectors of `features` `[n, width]`, or of all if there are fewer.

    Each cluster of a k-means gives the vector nearest to its centroid, of equally near ones the first. Equal vectors
    may leave fewer clusters than requested: then the first of the remaining vectors fill up.
    """
    vectors = features.float()
    centroids = kmeans(vectors, num, num_iterations=KMEANS_ITERATIONS, generator=generator)
    clusters, distances = (values.tolist() for values in nearest(vectors, centroids))
    best: dict[int, int] = {}
    for i, cluster in enumerate(clusters):
        if cluster not in best or distances[i] < distances[best[cluster]]:
            best[cluster] = i
    chosen = set(best.values())
    remaining = [i for i in range(len(vectors)) if i not in chosen]
    return sorted([*chosen, *remaining[: num - len(chosen)]])


def _record(entry: Entry) -> dict[str, Any]:
    return {"task": entry.task, **asdict(entry.example)}


def _entry(record: dict[str, Any]) -> Entry:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items() if key != "task"}
    return Entry(Example(**values), record["task"])  # type: ignore[arg-type]
