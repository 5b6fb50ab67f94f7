"""Streams of named entities: sentences as items, tasks that are domains or groups of types.

The answer to a sentence lists its entities (core/spans.py). Where tasks are groups of types, a sentence is annotated
with the types of its task alone: old and future types read as no entity, the shift of this scenario (Monaikul et al.
2021, AAAI, ExtendNER). Training sentences are dealt out greedily (CFNER, Zheng et al. 2022, arXiv 2210.03980, and the
survey authors' code): in the order of the file each goes to the task of its rarest type, rarity counted in entities of
the training split, among the tasks that are not full; a task's quota is its share of the types. Deviations: a
sentence without a type of any open task is left out and counted, where the authors give it to an open task without
annotation, and a column of the score matrix asks for its own task's types, where theirs asks for all types seen.
Validation and test sentences are evaluated in every task whose types they have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.spans import Entity, entity_answer, read_entities, type_name
from cmt_cli.core.stream import Provenance, Stream
from cmt_cli.data.files.conll import Sentence, bio_tags, read_columns
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import find
from cmt_cli.data.files.span_json import read_spans
from cmt_cli.data.labelled.items import Item, LabelledCorpus, Splits, by_task
from cmt_cli.data.labelled.labelled_stream import Format, Limits, labelled_stream

NEEDED = ("train", "test")  # splits; validation can be carved
Groups = Sequence[Sequence[str]]
Read = Callable[[Path, list[Problem]], list[Sentence]]


def item_of(sentence: Sentence, name: str, task: str) -> Item:
    """Return a sentence as an item whose labels are its types, in lower case and with spaces for underscores."""
    entities = [Entity(type_name(entity.type.replace("_", " ")), entity.words) for entity in sentence.entities]
    types = tuple(dict.fromkeys(entity.type for entity in entities))
    return Item(name, task, {"text": " ".join(sentence.tokens)}, (entity_answer(entities),), types)


def entities_of(item: Item) -> list[Entity]:
    """Return the entities of an item, in the order of its sentence."""
    return read_entities(item.references[0])[0]


def tagged(item: Item, rename: Callable[[str], str]) -> tuple[list[str], list[str]]:
    """Return the tokens and BIO tags of an item, its types renamed and with underscores for spaces."""
    tokens = item.fields["text"].split()
    renamed = (Entity(rename(entity.type).replace(" ", "_"), entity.words) for entity in entities_of(item))
    return tokens, bio_tags(tokens, renamed)


def first_of(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the first of some files that a folder holds, as it is or gzipped."""
    return next((found for name in names if (found := find(folder, name))), None)


def read_sentences(file: Path, problems: list[Problem]) -> list[Sentence]:
    """Read a file of columns or, if its name ends in .json or .jsonl, of span json."""
    read: Read = read_spans if ".json" in file.suffixes or ".jsonl" in file.suffixes else read_columns
    return read(file, problems)


def domain_items(
    domain: str, files: Mapping[str, Path | None], read: Read, problems: list[Problem]
) -> dict[str, list[Item]]:
    """Return the items of a domain's files by split; a split without a file has none."""
    sentences = {split: [] if file is None else read(file, problems) for split, file in files.items()}
    return {
        split: [item_of(sentence, f"{domain}-{split}-{index:05d}", domain) for index, sentence in enumerate(found)]
        for split, found in sentences.items()
    }


def domain_stream(
    corpus: LabelledCorpus, provenance: Provenance, *, order: Sequence[str], limits: Limits, format: Format
) -> Stream:
    """Return the stream whose tasks are domains in this order, each with all of its types."""
    divided = by_task(corpus.splits, order)
    labels = [types_of(splits["train"]) for _, splits in divided]
    return labelled_stream(divided, labels=labels, limits=limits, format=format, provenance=provenance)


def type_stream(
    corpus: LabelledCorpus, provenance: Provenance, *, groups: Groups, once: bool, limits: Limits, format: Format
) -> Stream:
    """Return the stream whose tasks are groups of types, each annotated with its own types alone.

    With `once` a training sentence is in one task, dealt out greedily, otherwise in every task whose types it has.
    """
    divided = by_types(corpus.splits, groups, once=once)
    used = len({item.id for _, splits in divided for item in splits["train"]})
    provenance = provenance.noted(f"{len(corpus.splits['train']) - used} training sentences are in no task")
    return labelled_stream(
        divided,
        labels=groups,
        limits=limits,
        format=format,
        provenance=provenance,
        target=own_entities,
    )


def types_of(items: Iterable[Item]) -> list[str]:
    """Return the types that occur, in alphabetical order."""
    return sorted({label for item in items for label in item.labels})


def own_entities(item: Item, types: Sequence[str]) -> tuple[str, ...]:
    """Return an item's answer with the entities of these types alone."""
    own = frozenset(types)
    return (entity_answer([entity for entity in entities_of(item) if entity.type in own]),)


def by_types(splits: Splits, groups: Groups, *, once: bool) -> list[tuple[str, Splits]]:
    """Divide a corpus into tasks of several types each, training sentences dealt out to one task if `once`."""
    if not all(groups):
        raise UserError("A task of named entities needs at least one type.")
    dealt = dealt_greedily(splits["train"], groups) if once else None
    tasks = []
    for index, group in enumerate(groups):
        own = frozenset(group)
        divided = {name: [i for i in items if not own.isdisjoint(i.labels)] for name, items in splits.items()}
        tasks.append((f"types_{index:02d}", divided if dealt is None else {**divided, "train": dealt[index]}))
    return tasks


def dealt_greedily(items: Sequence[Item], groups: Groups) -> list[list[Item]]:
    """Deal items out to the groups, each to that of its rarest type among the groups that are not full."""
    group_of = {name: index for index, group in enumerate(groups) for name in group}
    counts = Counter(entity.type for item in items for entity in entities_of(item))
    candidates = [
        list(
            dict.fromkeys(
                group_of[name] for name in sorted(item.labels, key=lambda n: (counts[n], n)) if name in group_of
            )
        )
        for item in items
    ]
    total = sum(map(bool, candidates))
    rooms = [total * len(group) // len(group_of) for group in groups]
    dealt: list[list[Item]] = [[] for _ in groups]
    for item, wanted in zip(items, candidates, strict=True):
        index = next((index for index in wanted if len(dealt[index]) < max(rooms[index], 1)), None)
        if index is not None:
            dealt[index].append(item)
    return dealt
