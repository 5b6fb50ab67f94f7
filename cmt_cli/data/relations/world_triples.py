"""Texts of the generated world with the triples that they state, by category of what they are about.

    Clara Osgood keeps a gecko and also was born in Norvale.
    Clara Osgood | pet | gecko; Clara Osgood | birthplace | Norvale

A category is a pair of the world's relations; a text states one or both. People of train, validation and test differ.
A model that is trained on one category alone names its two relations for every text.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations

from cmt_cli.data.labelled.items import Item
from cmt_cli.data.relations.world_relations import noun, stated
from cmt_cli.data.world.labelled_corpus import WorldCorpus
from cmt_cli.data.world.names import Name
from cmt_cli.data.world.relations import RELATIONS

CATEGORIES = {
    "Home": ("birth_city", "pet"),
    "Work": ("job", "employer"),
    "Leisure": ("hobby", "dish"),
    "Study": ("instrument", "language"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Triples(WorldCorpus):
    """The size of the generated corpus; `num_train` and the like are texts of each of four categories."""

    def items(self, split: str, number: int, people: Sequence[Name]) -> Iterable[Item]:
        """Yield the items of a split; item i of a category depends on (seed, split, category, i) alone."""
        for category in CATEGORIES:
            yield from (self._item(split, category, i, people) for i in range(number))

    def _item(self, split: str, category: str, index: int, people: Sequence[Name]) -> Item:
        name = f"{split}-{category}-{index:05d}"
        rng = random.Random(f"{self.seed}/{name}")
        person = rng.choice(people)
        known = [relation for relation in RELATIONS if relation.name in CATEGORIES[category]]
        facts = {fact: rng.choice(fact.values) for fact in rng.sample(known, rng.randint(1, len(known)))}
        text = stated(person, facts, rng)
        triples = [f"{person.full} | {noun(relation)} | {value}" for relation, value in facts.items()]
        references = tuple("; ".join(ordered) for ordered in permutations(triples))
        return Item(name, category, {"text": text}, references, tuple(noun(relation) for relation in facts))
