"""Line-aligned translations, read strictly; shared by `multi30k`, `tatoeba` and `docs_mt`.

Line n of one file translates line n of the other, so a lost line would shift all that follow: files of unequal length
are an error with both counts. A row of which one side is empty or is not UTF-8 is faulty and is left out whole.
A task is a direction, "en-de"; a file pair serves both directions, with the same rows in the same split.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.data.files.opening import PACKED_ENDINGS
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import folder_with, read_lines
from cmt_cli.data.labelled.held_out import HeldOut
from cmt_cli.data.labelled.items import SPLITS, Item, LabelledCorpus

_LINE_ENDS = re.compile(r"[\r\n]+")


@dataclass(frozen=True, slots=True)
class Bitext:
    """Two files of one split whose lines translate each other."""

    split: str
    languages: tuple[str, str]
    files: tuple[Path, Path]

    @property
    def name(self) -> str:
        """Return the pair as its files name it."""
        return "-".join(self.languages)


FindBitexts = Callable[[Path, list[Problem]], list[Bitext]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Directions:
    """The tasks of a translation stream.

    `order` lists them as source-target; `missing_tasks` says what becomes of one without training rows: "error" or
    "skip". `languages` gives the names that prompts call the files' codes by.
    """

    order: Sequence[str]
    missing_tasks: str
    languages: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuse a direction that is not two different codes."""
        for direction in self.order:
            codes = direction.split("-")
            if len(codes) != 2 or not all(codes) or codes[0] == codes[1]:
                raise UserError(f"data.directions.order has '{direction}'; give source-target, for example en-de.")


def read_bitexts(
    path: Path, *, find_bitexts: FindBitexts, directions: Directions | None = None, held_out: HeldOut | None = None
) -> tuple[LabelledCorpus, list[Problem]]:
    """Read the file pairs of the directions, or every pair in the direction of its name where none are given."""
    problems: list[Problem] = []
    sides: dict[Path, list[str | None]] = {}
    splits: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for bitext in find_bitexts(path, problems):
        order = [bitext.name] if directions is None else directions.order
        tasks = [task for task in order if set(task.split("-")) == set(bitext.languages)]
        if not tasks:
            continue
        for file in bitext.files:
            if file not in sides:
                sides[file] = read_side(file, problems)
        first, second = (sides[file] for file in bitext.files)
        if len(first) != len(second):
            other = bitext.files[1]
            fault = (
                f"has {counted(len(first), 'line')}, but {other.name} has {len(second)}: line n must translate line n"
            )
            problems.append(Problem(bitext.files[0], None, fault))
            continue
        drawn = frozenset[int]() if held_out is None else held_out.drawn(bitext.name, len(first))
        names = directions.languages if directions is not None else {}
        for index, (one, two) in enumerate(zip(first, second, strict=True)):
            if one is not None and two is not None:
                split = "test" if index in drawn else bitext.split
                texts = dict(zip(bitext.languages, (one, two), strict=True))
                splits[split] += [_item(task, f"{bitext.split}-{index:06d}", texts, names) for task in tasks]
    return LabelledCorpus(splits, tuple(sides)), problems


def read_side(path: Path, problems: list[Problem]) -> list[str | None]:
    """Return the lines of a file without the white space around them; None stands for a faulty one."""
    known = len(problems)
    lines = [line.strip() for line in read_lines(path, problems, at_cut="warn")]
    faulty = {problem.line for problem in problems[known:]}
    if not lines and not faulty:
        problems.append(Problem(path, None, "is empty"))
    for number, line in enumerate(lines, start=1):
        if not line:
            problems.append(Problem(path, number, "the line is empty"))
    return [line if line and number not in faulty else None for number, line in enumerate(lines, start=1)]


def _item(task: str, suffix: str, texts: Mapping[str, str], names: Mapping[str, str]) -> Item:
    source, target = task.split("-")
    fields = {
        "source": texts[source],
        "source_language": names.get(source, source),
        "target_language": names.get(target, target),
    }
    return Item(f"{task}-{suffix}", task, fields, (texts[target],))


def folder_of(path: Path, inner: Sequence[str], pattern: str, problems: list[Problem]) -> Path | None:
    """Return the first of `path` and the folders `inner` below it with a file of this pattern; None after a problem."""
    folder = folder_with(path, inner, pattern)
    if folder is None:
        problems.append(Problem(path, None, f"holds no files {pattern}, nor does a folder {' or '.join(inner)} in it"))
    return folder


def language_of(file: Path) -> str:
    """Return the code at the end of a file's name, packed or not."""
    plain = file.with_suffix("") if file.suffix in PACKED_ENDINGS else file
    return plain.suffix.removeprefix(".")


def sides_of(corpus: LabelledCorpus, split: str) -> dict[str, tuple[list[str], list[str]]]:
    """Return the source and target lines of each direction of a split, for writers."""
    sides: dict[str, tuple[list[str], list[str]]] = {}
    for item in corpus.splits[split]:
        sources, targets = sides.setdefault(item.task, ([], []))
        sources.append(item.fields["source"])
        targets.append(item.references[0])
    return sides


def write_pair(files: Sequence[Path], pairs: Iterable[tuple[str, str]]) -> None:
    """Write pairs of texts into two files, each text on one line."""
    for file, texts in zip(files, zip(*pairs, strict=True), strict=True):
        write_lines(file, [_LINE_ENDS.sub(" ", text.rstrip("\r\n")) for text in texts])


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write one text on each line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
