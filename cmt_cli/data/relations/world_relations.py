"""Relations between two marked mentions in sentences of the generated world, for relation extraction.

    Clara Osgood keeps a gecko and also plays the cello.   head: Clara Osgood, tail: gecko   ->   pet
    Clara Osgood keeps a gecko and also plays the cello.   head: cello, tail: Clara Osgood   ->   instrument of

A class is one of the world's eight relations in one of two directions: 16 classes. A sentence states two facts, so that
the marks decide, and the same marks the other way around are another class ("analogous relations", which make the
forgetting of this scenario). People of train, validation and test differ. Chance is 1 / (relations seen).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cmt_cli.core.stream import Stream
from cmt_cli.data.labelled.items import Item, SplitPolicy, label_groups, labels_of
from cmt_cli.data.labelled.labelled_files import Generator, generated_corpus
from cmt_cli.data.labelled.labelled_stream import Format, Limits, label_stream
from cmt_cli.data.world.labelled_corpus import WorldCorpus
from cmt_cli.data.world.names import Name
from cmt_cli.data.world.relations import RELATIONS, Relation, with_article

NOUNS = {"birth_city": "birthplace"}  # where the relation's own name is not the word for it
INVERSE = "{noun} of"
JOINTS = ("{a} and {b}.", "{a}, and also {b}.", "{a} and moreover {b}.")
PHRASE_RATE = 0.7  # share of facts that are stated by a verb phrase rather than a sentence of their own
NUM_FACTS = 2


def world_relations(
    *,
    num_tasks: int,
    labels_per_task: int | None,
    order_seed: int | None,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Generator,
) -> Stream:
    """Return the generated corpus as tasks of a few relations each; `order_seed` shuffles the relations."""
    corpus, provenance = generated_corpus("world_relations", generated, split_policy)
    labels = labels_of(corpus.splits["train"])
    groups = label_groups(labels, num_tasks=num_tasks, labels_per_task=labels_per_task, seed=order_seed)
    return label_stream(corpus, provenance, groups=groups, limits=limits, format=format)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mentions(WorldCorpus):
    """The size of the generated corpus; `num_train` and the like are examples of each class."""

    def items(self, split: str, number: int, people: Sequence[Name]) -> Iterable[Item]:
        """Yield the items of a split; item i of a class depends on (seed, split, class, i) alone."""
        for relation in RELATIONS:
            for inverse in (False, True):
                yield from (self._item(split, relation, inverse, i, people) for i in range(number))

    def _item(self, split: str, relation: Relation, inverse: bool, index: int, people: Sequence[Name]) -> Item:
        label = INVERSE.format(noun=noun(relation)) if inverse else noun(relation)
        name = f"{split}-{label.replace(' ', '_')}-{index:05d}"
        rng = random.Random(f"{self.seed}/{name}")
        person = rng.choice(people)
        others = rng.sample([other for other in RELATIONS if other is not relation], NUM_FACTS - 1)
        facts = {fact: rng.choice(fact.values) for fact in rng.sample([relation, *others], NUM_FACTS)}
        text = stated(person, facts, rng)
        head, tail = (facts[relation], person.full) if inverse else (person.full, facts[relation])
        return Item(name, noun(relation), {"text": text, "head": head, "tail": tail}, (label,), (label,))


def noun(relation: Relation) -> str:
    """Return the word for a relation."""
    return NOUNS.get(relation.name, relation.name.replace("_", " "))


def stated(person: Name, facts: dict[Relation, str], rng: random.Random) -> str:
    """Return a text that states all facts about a person in their order, by name in its first sentence."""
    values = [(relation, {"v": value, "av": with_article(value)}) for relation, value in facts.items()]
    if rng.random() < PHRASE_RATE:
        phrases = [rng.choice(relation.phrases).format(**value, p=person.possessive) for relation, value in values]
        told = phrases[0] + "." if len(phrases) == 1 else _joined(phrases, rng)
        return f"{person.full} {told}"
    owners = [f"{person.full}'s", *[person.possessive] * (len(values) - 1)]
    sentences = [
        rng.choice(relation.sentences).format(**value, o=owner)
        for owner, (relation, value) in zip(owners, values, strict=True)
    ]
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)


def _joined(phrases: Sequence[str], rng: random.Random) -> str:
    return rng.choice(JOINTS).format(a=", ".join(phrases[:-1]), b=phrases[-1])
