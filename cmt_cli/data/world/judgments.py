"""Small judgments about people of the generated world under the names of the long-sequence benchmark's tasks.

    topics      Text: Clara Osgood plays the cello.                                             Artist
    sentiment   Text: Clara Osgood adores ramen.                                                very positive
    inference   sentence 1: Clara Osgood keeps a gecko.  sentence 2: Clara Osgood keeps a goat. contradiction
    truth       question: Clara Osgood keeps a gecko  passage: Clara Osgood keeps a goat.       False
    choice      Which fits? Clara Osgood keeps a gecko.  A: pet  B: dish                        A

Each task has the labels that its name has upstream, so tasks share labels where they share them there. A label depends
on the text alone and is balanced; people of train, validation and test differ. Nothing is taken from the real tasks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cmt_cli.data.labelled.items import Item
from cmt_cli.data.world.intents import noun
from cmt_cli.data.world.labelled_corpus import WorldCorpus
from cmt_cli.data.world.names import Name
from cmt_cli.data.world.relations import RELATIONS, Relation, with_article

STARS = ("very negative", "negative", "neutral", "positive", "very positive")
VERBS = ("hates", "dislikes", "knows", "likes", "adores")
ENTAILMENT = ("entailment", "contradiction", "neutral")
TRUTH = ("True", "False")
TOPICS = {  # the relation that a text of each topic is about
    "dbpedia": {
        "Company": "employer", "Artist": "instrument", "Athlete": "hobby", "Office Holder": "job",
        "Village": "birth_city", "Animal": "pet", "Plant": "dish", "Written Work": "language",
    },
    "agnews": {
        "World": "language", "Sports": "hobby", "Business": "employer", "Science or Technology": "job",
    },
    "yahoo": {
        "Society & Culture": "language", "Health": "dish", "Education & Reference": "job", "Sports": "hobby",
        "Business & Finance": "employer", "Entertainment & Music": "instrument", "Family & Relationships": "pet",
    },
}  # fmt: skip
RELATION = {relation.name: relation for relation in RELATIONS}

Draw = Callable[[random.Random, Name, str], str]  # a text, for a name and a label


def _statements(rng: random.Random, relation: Relation, name: Name) -> tuple[str, str]:
    """Return a statement about someone, and the same with another value."""
    phrase = rng.choice(relation.phrases)
    one, other = (
        f"{name.full} {phrase.format(v=value, av=with_article(value), p=name.possessive)}"
        for value in rng.sample(relation.values, 2)
    )
    return one, other


def _topic(relations: Mapping[str, str]) -> Draw:
    def draw(rng: random.Random, name: Name, label: str) -> str:
        return f"Text: {_statements(rng, RELATION[relations[label]], name)[0]}."

    return draw


def _sentiment(labels: tuple[str, ...], verbs: tuple[str, ...]) -> Draw:
    def draw(rng: random.Random, name: Name, label: str) -> str:
        value = rng.choice(rng.choice(RELATIONS[3:]).values)
        return f"Text: {name.full} {verbs[labels.index(label)]} {value}."

    return draw


def _inference(rng: random.Random, name: Name, label: str) -> str:
    one, other = rng.sample(RELATIONS, 2)
    stated, different = _statements(rng, one, name)
    second = {"entailment": stated, "contradiction": different}.get(label) or _statements(rng, other, name)[0]
    return f"sentence 1: {stated}.\nsentence 2: {second}."


def _truth(first: str, second: str) -> Draw:
    def draw(rng: random.Random, name: Name, label: str) -> str:
        stated, different = _statements(rng, rng.choice(RELATIONS), name)
        return f"{first}: {stated}\n{second}: {stated if label == 'True' else different}."

    return draw


def _choice(rng: random.Random, name: Name, label: str) -> str:
    right, wrong = rng.sample(RELATIONS, 2)
    options = [noun(relation.name) for relation in ((right, wrong) if label == "A" else (wrong, right))]
    return f"Which fits? {_statements(rng, right, name)[0]}.\nA: {options[0]}\nB: {options[1]}"


DRAWS: Mapping[str, tuple[tuple[str, ...], Draw]] = {
    **{task: (tuple(topics), _topic(topics)) for task, topics in TOPICS.items()},
    "amazon": (STARS, _sentiment(STARS, VERBS)),
    "yelp": (STARS, _sentiment(STARS, VERBS)),
    "IMDB": (("Good", "Bad"), _sentiment(("Good", "Bad"), ("enjoys", "hates"))),
    "SST-2": (("Good", "Bad"), _sentiment(("Good", "Bad"), ("likes", "dislikes"))),
    "MNLI": (ENTAILMENT, _inference),
    "CB": (ENTAILMENT, _inference),
    "RTE": (ENTAILMENT[:2], _inference),
    "QQP": (TRUTH, _truth("first sentence", "second sentence")),
    "BoolQA": (TRUTH, _truth("question", "passage")),
    "MultiRC": (TRUTH, _truth("paragraph", "answer")),
    "WiC": (TRUTH, _truth("first use", "second use")),
    "COPA": (("A", "B"), _choice),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark(WorldCorpus):
    """The size of the generated corpus: examples of each of 15 tasks by split."""

    def items(self, split: str, number: int, people: Sequence[Name]) -> Iterable[Item]:
        """Yield the items of a split; item i of a task depends on (seed, split, task, i) alone."""
        for task in DRAWS:
            yield from (self._item(split, task, i, people) for i in range(number))

    def _item(self, split: str, task: str, index: int, people: Sequence[Name]) -> Item:
        labels, draw = DRAWS[task]
        label = labels[index % len(labels)]
        rng = random.Random(f"{self.seed}/{split}/{task}/{index}")
        text = draw(rng, rng.choice(people), label)
        return Item(f"{task}/{split}-{index:05d}", task, {"text": text}, (label,), (label,))


LIKED = {"movies": "instrument", "products": "dish", "editorials": "language", "tweets": "pet"}  # by domain


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentiments(WorldCorpus):
    """The size of a generated corpus of liking and disliking: examples of each of four domains by split."""

    def items(self, split: str, number: int, people: Sequence[Name]) -> Iterable[Item]:
        """Yield the items of a split; item i of a domain depends on (seed, split, domain, i) alone."""
        for domain, relation in LIKED.items():
            yield from (self._item(split, domain, RELATION[relation].values, i, people) for i in range(number))

    def _item(self, split: str, domain: str, values: Sequence[str], index: int, people: Sequence[Name]) -> Item:
        label, verbs = (("negative", VERBS[:2]), ("positive", VERBS[-2:]))[index % 2]
        rng = random.Random(f"{self.seed}/{split}/{domain}/{index}")
        text = f"{rng.choice(people).full} {rng.choice(verbs)} {rng.choice(values)}."
        return Item(f"{domain}/{split}-{index:05d}", domain, {"text": text}, (label,), (label,))
