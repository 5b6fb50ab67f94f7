"""Entities of the generated world: sentences about somebody, with twelve types of named things in five themes.

    our guest was born in Norvale and reads the Kelham Chronicle .     city: Norvale; paper: Kelham Chronicle

A sentence of a theme names one thing or more of its types and, in a `mixed_share` of the sentences, one of another
theme: what a task that does not know that type reads as no entity. People of train, validation and test differ, the
other things recur. Sentences are tokens with single spaces between.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.spans import Entity, entity_answer
from cmt_cli.data.labelled.items import Item
from cmt_cli.data.world.labelled_corpus import WorldCorpus
from cmt_cli.data.world.names import Name
from cmt_cli.data.world.relations import RELATIONS, with_article
from cmt_cli.data.world.world import TOPICS

RELATION = {relation.name: relation for relation in RELATIONS}
OTHER_VALUES = {
    "paper": TOPICS,
    "color": tuple("red green blue yellow purple orange brown gray pink white black silver".split()),
    "day": tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()),
}
OTHER_PHRASES = {
    "paper": ("reads the {v}", "writes for the {v}"),
    "color": ("likes everything {v}", "wears {v} all year"),
    "day": ("takes a rest on {v}", "stays at home on {v}"),
    "person": ("is a friend of {v}", "went to school with {v}"),
}
RELATION_OF = {"city": "birth_city"}  # of the other types with a relation: the one of the same name
THEMES: Mapping[str, tuple[str, ...]] = {
    "places": ("city", "paper"),
    "work": ("employer", "job"),
    "leisure": ("hobby", "instrument", "color"),
    "home": ("pet", "dish"),
    "people": ("person", "language", "day"),
}
THEME_OF = {kind: theme for theme, kinds in THEMES.items() for kind in kinds}
SUBJECTS = ("she", "he", "our guest", "my cousin", "the doctor", "the man", "a woman", "the boss")
ALONE_SHARE = 0.2  # of the sentences name one thing of their theme only


@dataclass(frozen=True, kw_only=True, slots=True)
class Entities(WorldCorpus):
    """The size of the generated corpus; `num_train` and the like are sentences of each theme."""

    mixed_share: float

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        WorldCorpus.__post_init__(self)  # no super(): a class with slots is made twice
        if not 0 <= self.mixed_share <= 1:
            raise UserError(f"data.generated.mixed_share={self.mixed_share} must lie between 0 and 1.")

    def items(self, split: str, number: int, people: Sequence[Name]) -> Iterable[Item]:
        """Yield the items of a split; item i of a theme depends on (seed, split, theme, i) and the share alone."""
        for theme in THEMES:
            yield from (self._item(split, theme, i, people) for i in range(number))

    def _item(self, split: str, theme: str, index: int, people: Sequence[Name]) -> Item:
        name = f"{split}-{theme}-{index:05d}"
        rng = random.Random(f"{self.seed}/{name}")
        kinds = THEMES[theme]
        chosen = rng.sample(kinds, 1 if rng.random() < ALONE_SHARE else 2)
        if rng.random() < self.mixed_share:
            chosen.append(rng.choice([kind for kind in THEME_OF if kind not in kinds]))
            rng.shuffle(chosen)
        entities = [Entity(kind, _value(kind, people, rng)) for kind in chosen]
        clauses = [rng.choice(phrases(entity.type)).format(v=entity.words, av=with_article(entity.words), p="the")
                   for entity in entities]  # fmt: skip
        text = f"{rng.choice(SUBJECTS)} {' and '.join(clauses)} ."
        return Item(name, theme, {"text": text}, (entity_answer(entities),), tuple(chosen))


def phrases(kind: str) -> tuple[str, ...]:
    """Return the clauses that may name a thing of a type."""
    return OTHER_PHRASES[kind] if kind in OTHER_PHRASES else RELATION[RELATION_OF.get(kind, kind)].phrases


def _value(kind: str, people: Sequence[Name], rng: random.Random) -> str:
    if kind == "person":
        return rng.choice(people).full
    return rng.choice(OTHER_VALUES[kind] if kind in OTHER_VALUES else RELATION[RELATION_OF.get(kind, kind)].values)
