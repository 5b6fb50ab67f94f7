"""Base class of the generated world's labelled corpora: their sizes, and which people a split may name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.labelled.items import SPLITS, Item, LabelledCorpus
from cmt_cli.data.world.names import Name, names_of_share

SHARE_OF_SPLIT = {"train": 1, "validation": 2, "test": 3}  # of the world's names; share 0 trained the embedded model


def names_of_split(split: str) -> list[Name]:
    """List the people of a split; no two splits share one."""
    return names_of_share(SHARE_OF_SPLIT[split])


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitSizes:
    """Examples of each task, class or theme, by split."""

    num_train: int
    num_validation: int
    num_test: int

    def check(self, place: str) -> None:
        """Raise UserError for an empty split; `place` is where the sizes stand in the configuration."""
        for split in SPLITS:
            if self.of(split) < 1:
                raise UserError(f"{place}.num_{split}={self.of(split)} is too small; give 1 or more.")

    def of(self, split: str) -> int:
        """Return the number of examples of a split."""
        return {"train": self.num_train, "validation": self.num_validation, "test": self.num_test}[split]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldCorpus(SplitSizes, ABC):
    """The settings of a generated corpus; a subclass says what its items are."""

    seed: int

    def __post_init__(self) -> None:
        """Refuse an empty split."""
        self.check("data.generated")

    def corpus(self) -> LabelledCorpus:
        """Return the items of each split; an item depends on the seed, its split, its place and the settings alone."""
        return LabelledCorpus({s: list(self.items(s, self.of(s), names_of_split(s))) for s in SPLITS}, ())

    @abstractmethod
    def items(self, split: str, number: int, people: Sequence[Name]) -> Iterable[Item]:
        """Return the items of a split, `number` of each task, class or theme."""
