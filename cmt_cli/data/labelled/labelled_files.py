"""Loads a labelled corpus from a user's files or the stand-in and applies the split policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from cmt_cli.core.stream import Provenance
from cmt_cli.data.files.generated import generator_version, written
from cmt_cli.data.files.origin import GENERATED_LICENSE, Layout, Origin, load, origin
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.labelled.items import Item, LabelledCorpus, SplitPolicy, labels_of
from cmt_cli.data.labelled.labelled_stream import Format

LabelledLayout = Layout[LabelledCorpus, LabelledCorpus]
Locate = Callable[[Path, str], Path | None]
ReadItems = Callable[[Path, str, Set[str] | None, list[Problem]], list[Item]]


class Generator(Protocol):
    """Settings of a generated corpus, a dataclass."""

    def corpus(self) -> LabelledCorpus:
        """Return the corpus."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where a labelled stream's files come from; `on_bad_row` "skip" leaves out and counts what "error" stops at."""

    chosen: Origin
    on_bad_row: str


def files_at(path: str, default_path: str, source: str, auto_may_generate: bool, cache: str, on_bad_row: str) -> Files:
    """Return Files from the plain values of a configuration."""
    chosen = origin(
        path=path, default_path=default_path, source=source, auto_may_generate=auto_may_generate, cache=cache
    )
    return Files(chosen, on_bad_row)


def clean_corpus(
    layout: LabelledLayout, files: Files, generated: Generator, split_policy: SplitPolicy, format: Format
) -> tuple[LabelledCorpus, Provenance]:
    """Read the files, or the stand-in through the same reader, and apply the split policy.

    Where `format` has one template for all tasks, a prompt shows nothing of its task but the item's fields. Raises
    UserError where files are missing and may not be generated or splits overlap, ProblemError for faulty files.
    """

    def generate(layout: LabelledLayout, cache: Path) -> Path:
        return written(
            layout.name, _settings(generated), cache, lambda folder: layout.write(folder, generated.corpus())
        )

    corpus, provenance = load(layout, files.chosen, generate, on_bad_row=files.on_bad_row)
    corpus = replace(corpus, tasks_are_groups=isinstance(format.prompt_template, str))
    return _cleaned(corpus, provenance, split_policy)


def read_splits(
    path: Path, names: Mapping[str, str], located: Locate, items: ReadItems
) -> tuple[LabelledCorpus, list[Problem]]:
    """Read the file of each split, `names` by split, the training file first; a missing one is a problem.

    `located(path, name)` finds a file; `items(file, split, known, problems)` reads it, `known` being the labels that
    have training rows, None where nothing is known of them.
    """
    problems: list[Problem] = []
    files: list[Path] = []
    splits: dict[str, list[Item]] = {}
    for split, name in names.items():
        file = located(path, name)
        if file is None:
            problems.append(Problem(path, None, f"holds no {name}"))
            continue
        files.append(file)
        known = frozenset(labels_of(splits["train"])) if "train" in splits else None
        splits[split] = items(file, split, known, problems)
    return LabelledCorpus(splits, tuple(files)), problems


def generated_corpus(name: str, generated: Generator, split_policy: SplitPolicy) -> tuple[LabelledCorpus, Provenance]:
    """Return a generated corpus without files, for `data=world_...`."""
    return _cleaned(generated.corpus(), _generated(name), split_policy)


def _generated(name: str) -> Provenance:
    return Provenance(name, "generated", GENERATED_LICENSE, generator=generator_version())


def _cleaned(
    corpus: LabelledCorpus, provenance: Provenance, split_policy: SplitPolicy
) -> tuple[LabelledCorpus, Provenance]:
    corpus = split_policy.applied(corpus)
    return corpus, provenance.noted(*corpus.notes)


def _settings(generated: Any) -> dict[str, Any]:
    return {"generator_class": type(generated).__name__, **asdict(generated)}
