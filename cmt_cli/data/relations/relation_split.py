"""Relation extraction: rows of each relation divided into splits by count, and mentions found among tokens.

Files of FewRel and TACRED are divided anew by continual relation extraction, each relation's rows on their own (RP-CRE,
Cui et al. 2021, ACL): shuffled, then cut by counts.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Any

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import json_type
from cmt_cli.data.labelled.items import SPLITS, Item, LabelledCorpus

_TOKEN = re.compile(r"'s\b|\w+|[^\w\s]")
_ROUNDING = 1e-9  # 0.29 * 100 is 28.999...

Read = Callable[[Path], tuple[LabelledCorpus, list[Problem]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class RelationSplit:
    """How many rows of each relation go to each split, drawn by `seed`.

    Validation and test each take at most `max_held_out_share` of a relation's rows, so that a relation with fewer rows
    than the counts ask for is divided in proportion; training takes up to `num_train` of the others.
    `num_validation` of 0 leaves the validation split to `split_policy.validation_share`.
    """

    num_train: int
    num_validation: int
    num_test: int
    max_held_out_share: float
    seed: int

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name, smallest in (("num_train", 1), ("num_validation", 0), ("num_test", 1)):
            if getattr(self, name) < smallest:
                raise UserError(f"data.split.{name}={getattr(self, name)} is too small; give {smallest} or more.")
        if not 0 < self.max_held_out_share < 0.5:
            raise UserError(
                f"data.split.max_held_out_share={self.max_held_out_share} must lie between 0 and 0.5: validation and "
                "test each take that share of a small relation, and training needs rows too."
            )

    def after(self, read: Read) -> Read:
        """Return a reader that divides what another has read."""

        def divided(path: Path) -> tuple[LabelledCorpus, list[Problem]]:
            corpus, problems = read(path)
            return self.applied(corpus), problems

        return divided

    def applied(self, corpus: LabelledCorpus) -> LabelledCorpus:
        """Return the corpus with the rows of all its splits divided anew, the rows of each relation on their own."""
        rows: dict[str, list[Item]] = {}
        for split in SPLITS:
            for item in corpus.splits.get(split, ()):
                rows.setdefault(item.labels[0], []).append(item)
        splits: dict[str, list[Item]] = {split: [] for split in SPLITS}
        sizes = {label: self._sizes(len(items)) for label, items in rows.items()}
        for label, items in rows.items():
            order = random.Random(f"{self.seed}/{label}").sample(items, len(items))
            for split, number in zip(("test", "validation", "train"), sizes[label], strict=True):
                splits[split] += order[:number]
                order = order[number:]
        whole = (self.num_test, self.num_validation, self.num_train)
        small = [size for size in sizes.values() if size != whole]
        note = f"each relation's rows divided into {self.num_train}/{self.num_validation}/{self.num_test}"
        if small:
            test, validation, train = min(small, key=sum)
            note += f", scaled for {len(small)} of {counted(len(sizes), 'relation')} with fewer rows"
            note += f" (the smallest to {train}/{validation}/{test})"
        return dataclasses.replace(corpus, splits=splits, notes=(*corpus.notes, note))

    def _sizes(self, num_rows: int) -> tuple[int, int, int]:
        most = floor(num_rows * self.max_held_out_share + _ROUNDING)
        test, validation = min(self.num_test, most), min(self.num_validation, most)
        return test, validation, min(self.num_train, num_rows - test - validation)


def tokens_of(text: str) -> list[str]:
    """Return the words and punctuation marks of a generated text."""
    return _TOKEN.findall(text)


def positions_of(mention: str, tokens: Sequence[str]) -> list[int]:
    """Return where the tokens of a mention first stand; raise ValueError where they do not."""
    wanted = tokens_of(mention)
    for start in range(len(tokens) - len(wanted) + 1):
        if list(tokens[start : start + len(wanted)]) == wanted:
            return list(range(start, start + len(wanted)))
    raise ValueError(f"{mention!r} is not in {' '.join(tokens)!r}")


def joined(tokens: Sequence[str]) -> str:
    """Return tokens as a text with single spaces."""
    return " ".join(" ".join(tokens).split())


def tokens_fault(tokens: Any, name: str) -> str | None:
    """Return what is wrong with a row's tokens, or None."""
    if not isinstance(tokens, list):
        return f"'{name}' must be a list of strings, not {json_type(tokens)}"
    for token in tokens:
        if not isinstance(token, str):
            return f"'{name}' must hold strings only, not {json_type(token)}"
    try:
        joined(tokens).encode()
    except UnicodeEncodeError:
        return f"'{name}' has half of a surrogate pair (\\ud800 to \\udfff)"
    return None if joined(tokens) else f"'{name}' is empty"
