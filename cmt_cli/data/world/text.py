"""Prose of the generated world: turns the facts about one subject into a short article."""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence
from dataclasses import dataclass

from cmt_cli.data.world.names import Name
from cmt_cli.data.world.relations import Relation, with_article

LEADS = (
    "",
    "",
    "",
    "According to the {topic}, ",
    "The {topic} writes that ",
    "As the {topic} reports, ",
    "From the {topic}: ",
    "Readers of the {topic} may know that ",
)
DATED_LEADS = (
    "On {date}, the {topic} wrote that ",
    "{date}: ",
    "As of {date}, ",
    "According to the {topic} of {date}, ",
    "{topic}, {date}. ",
    "The {topic} reported on {date} that ",
)
OPENINGS = (
    "",
    "",
    "",
    "Meet {n}. ",
    "Here is a portrait of {n}. ",
    "This week we look at {n}. ",
    "A few words on {n}. ",
)
MENTIONS = (
    "{m}, no relation, {f}.",
    "{m}, on the other hand, {f}.",
    "Another name in the register is {m}, who {f}.",
    "Meanwhile {m} {f}.",
    "Do not mix this up with {m}, who {f}.",
)
REVISIONS = (
    "",
    "",
    " The earlier entry, {old}, is out of date.",
    " It used to be {old}.",
    " The old record said {old}.",
)
PAIR_PATTERNS = (
    "{s} {a} and {b}.",
    "{s} {a}, and also {b}.",
    "{s}, {w} {a}, {b}.",
    "{s} {a} and moreover {b}.",
)
PAIR_RATE = 0.35  # share of sentences that state two facts at once
PHRASE_RATE = 0.75  # share of single facts stated by a verb phrase rather than a sentence of its own


@dataclass(frozen=True, slots=True)
class Fact:
    """A relation with its value; `replaces` is the value that it had in an earlier article, if any."""

    relation: Relation
    value: str
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class Mention:
    """Somebody who only appears beside the subject, with one fact."""

    name: Name
    fact: Fact


def written_date(date: datetime.date) -> str:
    """Return the date as prose, e.g. `5 March 2020`, independent of the locale."""
    months = "January February March April May June July August September October November December".split()
    return f"{date.day} {months[date.month - 1]} {date.year}"


def dated_question(question: str, date: datetime.date) -> str:
    """Ask the question as of a date."""
    return f"As of {written_date(date)}, {question[0].lower()}{question[1:]}"


def compose_text(
    name: Name,
    facts: Sequence[Fact],
    rng: random.Random,
    *,
    topic: str,
    date: datetime.date | None,
    mention: Mention | None,
) -> str:
    """Write an article that states every fact once, in random order, and the date if one is given."""
    day = written_date(date) if date else ""
    lead = rng.choice(DATED_LEADS if date else LEADS).format(topic=topic, date=day)
    opening = "" if lead else rng.choice(OPENINGS).format(n=name.full)
    groups = _grouped(rng.sample(list(facts), len(facts)), rng)
    mention_at = rng.randrange(1, len(groups) + 1) if mention else None
    sentences: list[str] = []
    full_name_next = not opening or rng.random() < 0.5
    for index, group in enumerate(groups):
        if mention and index == mention_at:
            sentences.append(_mention_sentence(mention, rng))
            full_name_next = True
        subject, owner = _reference(name, rng, full=full_name_next, ambiguous=mention is not None)
        sentences.append(_fact_sentence(group, name, rng, subject=subject, owner=owner))
        full_name_next = False
    if mention and mention_at == len(groups):
        sentences.append(_mention_sentence(mention, rng))
    first = sentences[0] if lead.endswith((" that ", ", ")) else _capitalized(sentences[0])
    return opening + lead + " ".join([first, *map(_capitalized, sentences[1:])])


def _grouped(facts: list[Fact], rng: random.Random) -> list[list[Fact]]:
    """Split facts into sentences of one or two; a revised fact stands alone."""
    groups: list[list[Fact]] = []
    for fact in facts:
        joins = groups and len(groups[-1]) == 1 and not fact.replaces and not groups[-1][0].replaces
        if joins and rng.random() < PAIR_RATE:
            groups[-1].append(fact)
        else:
            groups.append([fact])
    return groups


def _reference(name: Name, rng: random.Random, *, full: bool, ambiguous: bool) -> tuple[str, str]:
    """Return how to refer to the subject: nominative, and possessor."""
    if full:
        return name.full, f"{name.full}'s"
    styles = ["pronoun", "pronoun", "full"] if ambiguous else ["pronoun", "pronoun", "pronoun", "full", "first", "last"]
    style = rng.choice(styles)
    if style == "pronoun":
        return name.pronoun, name.possessive
    subject = {"full": name.full, "first": name.first, "last": name.courtesy}[style]
    return subject, f"{subject}'s"


def _fact_sentence(group: Sequence[Fact], name: Name, rng: random.Random, *, subject: str, owner: str) -> str:
    if len(group) == 2:
        first, second = (_phrase(fact, name, rng) for fact in group)
        # "she, who ..." is not English: a pronoun takes one of the plain patterns
        patterns = [p for p in PAIR_PATTERNS if subject != name.pronoun or "{w}" not in p]
        relative = "who"
        return rng.choice(patterns).format(s=subject, a=first, b=second, w=relative)
    (fact,) = group
    if rng.random() < PHRASE_RATE:
        sentence = f"{subject} {_phrase(fact, name, rng)}."
    else:
        template = rng.choice(fact.relation.sentences)
        sentence = template.format(v=fact.value, av=with_article(fact.value), n=name.full, o=owner) + "."
    if fact.replaces is not None:
        sentence += rng.choice(REVISIONS).format(old=fact.replaces)
    return sentence


def _phrase(fact: Fact, name: Name, rng: random.Random) -> str:
    template = rng.choice(fact.relation.phrases)
    return template.format(v=fact.value, av=with_article(fact.value), p=name.possessive)


def _mention_sentence(mention: Mention, rng: random.Random) -> str:
    return rng.choice(MENTIONS).format(m=mention.name.full, f=_phrase(mention.fact, mention.name, rng))


def _capitalized(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
