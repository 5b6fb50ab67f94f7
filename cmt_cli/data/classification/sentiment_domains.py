"""Sentiment of sentences in four domains, one domain after another (Hutto and Gilbert 2014, ICWSM: VADER).

The folder `hutto_ICWSM_2014` of the authors, whose files have an id, the mean rating of at least 20 people between -4
and 4, and a sentence, with tabs between them and no header; `cmt data prepare sentiment_domains` gets it from the
source archive of the authors' package vaderSentiment, which a package index has:

    movieReviewSnippets_GroundTruth.txt     31      2.4     The film never drags, and its cast shines.
    amazonReviewSnippets_GroundTruth.txt    12_4    -1.85   The lid broke within a week.

Domain-incremental: the labels are negative and positive in every task, texts and habits of writing change. A sentence
whose mean rating lies within `threshold` of 0 is left out, counted: people do not agree on it. The files name no
splits. Test and validation are held out by whole reviews and articles (the id up to its `_`), since sentences of one
text tell of the same thing. MIT. Chance is 1/2.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

from cmt_cli.core.atomic import write_bytes
from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.stream import Stream
from cmt_cli.data.files.archives import extract
from cmt_cli.data.files.fetched import Progress
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.package_index import Release, source_archive_of
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.published import PUBLISHED
from cmt_cli.data.files.reading import find, numbered_lines, sha256_of
from cmt_cli.data.labelled.held_out import HeldOut
from cmt_cli.data.labelled.items import Item, LabelledCorpus, SplitPolicy
from cmt_cli.data.labelled.labelled_files import Generator, LabelledLayout, clean_corpus, files_at
from cmt_cli.data.labelled.labelled_stream import Format, Limits, task_stream

NAME = "sentiment_domains"
FILE_OF_DOMAIN = {
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
    "editorials": "nytEditorialSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
}
MAX_RATING = 4.0
RATING = {"negative": -2.0, "positive": 2.0}  # that the stand-in's sentences are written with
RELEASE = Release(
    requirement="vaderSentiment==3.3.2", sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
)
FOLDER = "hutto_ICWSM_2014"  # in the authors' archive
ARCHIVE = f"additional_resources/{FOLDER}.tar.gz"  # in the folder of the source archive


def sentiment_domains(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    on_bad_row: str,
    order: Sequence[str],
    threshold: float,
    test: HeldOut,
    validation: HeldOut,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Generator,
) -> Stream:
    """Return a task for each domain of `order`.

    Sentences rated within `threshold` of 0 are left out. `test` is held out first, `validation` of what is left.
    """
    if not 0 <= threshold < MAX_RATING:
        raise UserError(f"data.threshold={threshold} must be at least 0 and below {MAX_RATING:g}, the best rating.")
    files = files_at(path, default_path, source, auto_may_generate, cache, on_bad_row)
    layout = replace(LAYOUT, read=partial(read, threshold=threshold, test=test, validation=validation))
    corpus, provenance = clean_corpus(layout, files, generated, split_policy, format)
    return task_stream(corpus, provenance, order=order, limits=limits, format=format)


def read(
    path: Path, *, threshold: float = 0.0, test: HeldOut | None = None, validation: HeldOut | None = None
) -> tuple[LabelledCorpus, list[Problem]]:
    """Read the folder of the four files; without anything held out all sentences are training items."""
    problems: list[Problem] = []
    splits: dict[str, list[Item]] = {"train": [], "validation": [], "test": []}
    files: list[Path] = []
    num_left_out = 0
    for domain, name in FILE_OF_DOMAIN.items():
        file = find(path, name)
        if file is None:
            problems.append(Problem(path, None, f"holds no {name}"))
            continue
        files.append(file)
        rated = _rated(file, domain, problems)
        items = [item for item, rating in rated if abs(rating) > threshold]
        num_left_out += len(rated) - len(items)
        for split, chosen in _divided(items, test, validation).items():
            splits[split] += chosen
    notes = (f"{counted(num_left_out, 'sentence')} rated within {threshold:g} of 0 left out",) if num_left_out else ()
    return LabelledCorpus(splits, tuple(files), notes), problems


def _rated(file: Path, domain: str, problems: list[Problem]) -> list[tuple[Item, float]]:
    """Return a file's sentences with their ratings, in its order."""
    # The published files end without a line ending, where any other may have been cut off.
    is_published = sha256_of(file) in PUBLISHED[NAME]
    found = []
    lines = numbered_lines(file, problems, at_cut="keep" if is_published else "warn")
    for number, line, is_faulty in lines:
        if is_faulty or not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) != 3 or not fields[0].strip() or not fields[2].strip():
            problems.append(Problem(file, number, "must have an id, a rating and a sentence, with tabs between them"))
        elif (rating := _rating(fields[1])) is None:
            problems.append(Problem(file, number, f"the rating '{fields[1]}' is no number from -4 to 4"))
        else:
            label = "positive" if rating > 0 else "negative"
            item = Item(f"{domain}/{fields[0].strip()}", domain, {"text": fields[2].strip()}, (label,), (label,))
            found.append((item, rating))
    if not found:
        problems.append(Problem(file, None, "has no rows"))
    return found


def _rating(text: str) -> float | None:
    try:
        rating = float(text)
    except ValueError:
        return None
    return rating if math.isfinite(rating) and abs(rating) <= MAX_RATING else None


def _divided(items: Sequence[Item], test: HeldOut | None, validation: HeldOut | None) -> dict[str, list[Item]]:
    """Divide a domain's items by whole reviews and articles."""
    groups = [(name, list(group)) for name, group in groupby(items, key=lambda item: item.id.partition("_")[0])]
    splits: dict[str, list[Item]] = {}
    for split, held_out in (("test", test), ("validation", validation)):
        if held_out is None:
            continue
        drawn = held_out.drawn(f"{split}/{groups[0][0].partition('/')[0]}" if groups else split, len(groups))
        splits[split] = [item for index, (_, group) in enumerate(groups) if index in drawn for item in group]
        groups = [group for index, group in enumerate(groups) if index not in drawn]
    return {**splits, "train": [item for _, group in groups for item in group]}


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write a corpus in this layout, which has no splits."""
    items = [item for split in corpus.splits.values() for item in split]
    for domain, name in FILE_OF_DOMAIN.items():
        own = [item for item in items if item.task == domain]
        rows = (f"{n}\t{RATING[item.labels[0]]}\t{item.fields['text']}\n" for n, item in enumerate(own, start=1))
        (folder / name).write_text("".join(rows), encoding="utf-8")


def fetch(path: Path, progress: Progress) -> bool:
    """Take the four files out of the source archive of the authors' package; False where they are all there."""
    missing = [name for name in FILE_OF_DOMAIN.values() if find(path, name) is None]
    if not missing:
        return False
    progress(f"downloading {RELEASE.requirement}", 0, 1)
    with tempfile.TemporaryDirectory() as made:
        outer = _unpacked(source_archive_of(RELEASE, Path(made)), Path(made) / "release")
        inner = _unpacked(outer / RELEASE.requirement.replace("==", "-") / ARCHIVE, Path(made) / "files")
        path.mkdir(parents=True, exist_ok=True)
        for name in missing:
            write_bytes(path / name, (inner / FOLDER / name).read_bytes())
    progress(f"downloading {RELEASE.requirement}", 1, 1)
    return True


def _unpacked(archive: Path, into: Path) -> Path:
    if problems := extract(archive, into):
        raise UserError(
            f"{RELEASE.requirement} could not be unpacked: {problems[0]}. Repeat, or set TMPDIR to a place with room."
        )
    return into


LAYOUT: LabelledLayout = Layout(
    name=NAME,
    license="MIT",
    how_to_get=(
        "Unpack additional_resources/hutto_ICWSM_2014.tar.gz of github.com/cjhutto/vaderSentiment and put its four "
        "files *_GroundTruth.txt into {path}."
    ),
    read=read,
    write=write,
    fetch=fetch,
)
