"""Intents of the generated world: requests to a registry of people, for text classification.

    what is the pet of Clara Osgood                 name pet
    please set the language of Otto Dale to Czech   new language

A class is one of four acts on one of the world's eight relations: 32 classes in eight domains. A label is two words
that the embedded model knows as one token each, the act and the relation; the wording of an act varies. People of
train, validation and test differ.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cmt_cli.data.labelled.items import Item
from cmt_cli.data.world.labelled_corpus import WorldCorpus
from cmt_cli.data.world.names import Name
from cmt_cli.data.world.relations import RELATIONS, Relation

ACTS = {
    "name": ("what is the {noun} of {name}", "tell me the {noun} of {name}", "do you know which {noun} {name} has"),
    "new": (
        "please set the {noun} of {name} to {value}",
        "{name} has {value} as {noun} from today on",
        "the {noun} of {name} is {value}, write that down",
    ),
    "no": (
        "{name} no longer has {value} as {noun}",
        "take {value} away as the {noun} of {name}",
        "the {noun} {value} of {name} is out of date",
    ),
    "all": (
        "who but {name} has {value} as {noun}",
        "everyone like {name} whose {noun} is {value}",
        "list all with the {noun} {value} of {name}",
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Intents(WorldCorpus):
    """The size of the generated corpus; `num_train` and the like are examples of each class."""

    def items(self, split: str, number: int, people: Sequence[Name]) -> Iterable[Item]:
        """Yield the items of a split; item i of a class depends on (seed, split, class, i) alone."""
        for relation in RELATIONS:
            for act in ACTS:
                yield from (self._item(split, relation, act, i, people) for i in range(number))

    def _item(self, split: str, relation: Relation, act: str, index: int, people: Sequence[Name]) -> Item:
        name = f"{split}-{relation.name}-{act}-{index:05d}"
        rng = random.Random(f"{self.seed}/{name}")
        text = rng.choice(ACTS[act]).format(
            noun=noun(relation.name), name=rng.choice(people).full, value=rng.choice(relation.values)
        )
        label = f"{act} {noun(relation.name)}"
        return Item(name, noun(relation.name), {"text": text}, (label,), (label,))


def noun(relation: str) -> str:
    """Return a relation's name as one word."""
    return "birthplace" if relation == "birth_city" else relation
