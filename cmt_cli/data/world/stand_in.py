"""Writes the generated world in the file layouts of real data sets, so that it passes through the real readers.

Train documents come from the world's period "meta", validation from "validation", test from "stream"; the periods
share no entity. A finished folder is moved into place whole, under a name made of everything that decides its content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.files.generated import written
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.world.world import Article, World

PERIOD_OF_SPLIT = {"train": "meta", "validation": "validation", "test": "stream"}


@dataclass(frozen=True, kw_only=True, slots=True)
class StandIn:
    """The size of a generated stream; `max_test_questions_per_document` of None asks about every fact.

    The cap is written into the test files; a stream of validation documents is capped as it is built.
    """

    num_train_documents: int
    num_validation_documents: int
    num_test_documents: int
    max_test_questions_per_document: int | None
    facts_per_document: int
    changing_facts: bool
    seed: int

    def __post_init__(self) -> None:
        for name, given in asdict(self).items():
            if name.startswith(("num_", "max_")) and given is not None and given < 1:
                raise UserError(f"data.generated.{name}={given} is too small; give 1 or more.")

    def write(self, layout: Layout[Any, Mapping[str, Sequence[Article]]], cache: Path) -> Path:
        """Write the stand-in of a layout below `cache` unless it is there; return its folder."""
        return written(layout.name, asdict(self), cache, lambda folder: layout.write(folder, self.articles()))

    def articles(self) -> dict[str, list[Article]]:
        """Return the articles of each split."""
        world = World(seed=self.seed, facts_per_document=self.facts_per_document, changing_facts=self.changing_facts)
        counts = {
            "train": self.num_train_documents,
            "validation": self.num_validation_documents,
            "test": self.num_test_documents,
        }
        found = {split: world.articles(PERIOD_OF_SPLIT[split], count) for split, count in counts.items()}
        limit = self.max_test_questions_per_document
        found["test"] = [replace(a, questions=a.questions[:limit]) for a in found["test"]]
        return found
