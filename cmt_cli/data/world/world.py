"""The generated world: a seeded source of dated articles about people, their towns, employers and ways, with questions.

Every scenario on generated data is a projection of this world. Four periods share the vocabulary of values
but no entity, so no fact of `meta`, `validation` or `stream` occurs in `base`, whatever the seeds. Article i
depends only on (seed, period, i) and the size parameters: a shorter request is a prefix of a longer one.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence
from dataclasses import dataclass

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Document
from cmt_cli.data.world.names import MENTIONED_SHARE, Name, names_of_share
from cmt_cli.data.world.relations import RELATIONS, Relation
from cmt_cli.data.world.text import Fact, Mention, compose_text, dated_question
from cmt_cli.data.world.vocabulary import CITIES

PERIODS = {
    "base": datetime.date(2000, 1, 1),
    "meta": datetime.date(2008, 1, 1),
    "validation": datetime.date(2016, 1, 1),
    "stream": datetime.date(2020, 1, 1),
}
ARTICLES_PER_DAY = 8
MAX_ARTICLES = 20_000  # of one period; 21,600 names of people are available to each
MIN_FACTS, MAX_FACTS = 1, 4
PAPERS = ("Chronicle", "Gazette", "Herald", "Courier")
TOPICS = tuple(f"{city} {PAPERS[index % len(PAPERS)]}" for index, city in enumerate(CITIES[::2]))
MENTION_RATE = 0.35  # share of articles that also state a fact about somebody with the same first or last name
UPDATE_CYCLE = 5  # in a changing world every fifth article revises an article about a person ...
UPDATE_LAG = 20  # ... that is twenty cycles older, hence of an earlier day


@dataclass(frozen=True)
class WorldQuestion:
    """A question about one fact of an article; of the accepted `answers` the first occurs in the text."""

    id: str
    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Article:
    """A document about a person, `subject`, with its questions.

    `topic`, a newspaper, groups articles as a SQuAD title does paragraphs.
    """

    document: Document
    subject: str
    questions: tuple[WorldQuestion, ...]
    topic: str


class World:
    """A reproducible world: the same arguments always give the same articles.

    With `changing_facts`, later articles revise facts of earlier ones, and questions about facts that can
    change are asked as of the article's date.
    """

    def __init__(self, *, seed: int, facts_per_document: int, changing_facts: bool) -> None:
        if not MIN_FACTS <= facts_per_document <= MAX_FACTS:
            raise UserError(
                f"facts_per_document={facts_per_document} is not possible; give {MIN_FACTS} to {MAX_FACTS}, "
                "the number of facts that an article states about its subject."
            )
        self.seed = seed
        self.facts_per_document = facts_per_document
        self.changing_facts = changing_facts
        self._names: dict[str, list[Name]] = {}
        # name half (first or last) -> people who have it and are only mentioned
        self._namesakes: dict[str, list[Name]] = {}
        for name in names_of_share(MENTIONED_SHARE):
            for half in (name.first, name.last):
                self._namesakes.setdefault(half, []).append(name)

    def articles(self, period: str, num_documents: int) -> list[Article]:
        """Return the first articles of a period, in order of date.

        Raises UserError for an unknown period and for more articles than there are names.
        """
        if period not in PERIODS:
            raise UserError(f"The world has no period {period!r}; allowed are {', '.join(PERIODS)}.")
        if not 0 <= num_documents <= MAX_ARTICLES:
            raise UserError(
                f"num_documents={num_documents} is not possible: a period has 0 to {MAX_ARTICLES} articles. "
                "Ask for fewer documents, or use another seed for a second world."
            )
        return [self._article(period, index) for index in range(num_documents)]

    def _article(self, period: str, index: int) -> Article:
        rng = random.Random(f"{self.seed}/{period}/{index}/text")
        date = _date(period, index)
        name, facts = self._revision(period, index) or self._subject_and_facts(period, index)
        topic = TOPICS[rng.randrange(len(TOPICS))]
        mention = self._mention(name, facts, rng) if rng.random() < MENTION_RATE else None
        told = date if self.changing_facts else None
        text = compose_text(name, facts, rng, topic=topic, date=told, mention=mention)
        document_id = f"world-{self.seed}-{period}-{index:05d}"
        questions = []
        for fact in facts:
            question = rng.choice(fact.relation.questions).format(n=name.full)
            if self.changing_facts and fact.relation.changes:
                question = dated_question(question, date)
            answers = fact.relation.answers(fact.value)
            questions.append(WorldQuestion(f"{document_id}/{fact.relation.name}", question, answers))
        document = Document(id=document_id, text=text, date=date.isoformat(), title=topic)
        return Article(document=document, subject=name.full, questions=tuple(questions), topic=topic)

    def _subject_and_facts(self, period: str, index: int) -> tuple[Name, list[Fact]]:
        """Return whom article `index` is about and its facts, leaving revisions aside."""
        name = self._shuffled_names(period)[index]
        rng = random.Random(f"{self.seed}/{period}/{index}/facts")
        relations = rng.sample(RELATIONS, self.facts_per_document)
        if self.changing_facts and not any(relation.changes for relation in relations):
            relations[-1] = rng.choice([relation for relation in RELATIONS if relation.changes])
        return name, [Fact(relation, rng.choice(relation.values)) for relation in relations]

    def _revision(self, period: str, index: int) -> tuple[Name, list[Fact]] | None:
        """Return subject and facts of an article that revises an earlier one, None if it does not."""
        cycle, position = divmod(index, UPDATE_CYCLE)
        if not self.changing_facts or position != UPDATE_CYCLE - 1 or cycle < UPDATE_LAG:
            return None
        rng = random.Random(f"{self.seed}/{period}/{index}/revision")
        first = (cycle - UPDATE_LAG) * UPDATE_CYCLE
        original = rng.randrange(first, first + UPDATE_CYCLE - 1)
        name, old_facts = self._subject_and_facts(period, original)
        old = rng.choice([fact for fact in old_facts if fact.relation.changes])
        value = rng.choice([value for value in old.relation.values if value != old.value])
        facts = [Fact(old.relation, value, replaces=old.value)]
        known = {fact.relation.name for fact in old_facts}
        others = [relation for relation in RELATIONS if relation.name not in known]
        added = rng.sample(others, self.facts_per_document - 1)
        facts += [Fact(relation, rng.choice(relation.values)) for relation in added]
        return name, facts

    def _mention(self, name: Name, facts: list[Fact], rng: random.Random) -> Mention:
        """Choose a namesake (same first or last name) and a fact about them, mostly of a relation in use."""
        half = name.last if rng.random() < 0.5 else name.first
        other = rng.choice(self._namesakes[half])
        candidates: Sequence[Relation] = [fact.relation for fact in facts]
        if rng.random() < 0.3:
            candidates = RELATIONS
        relation = rng.choice(candidates)
        taken = {value for fact in facts for value in (fact.value, fact.replaces)}
        return Mention(other, Fact(relation, rng.choice([value for value in relation.values if value not in taken])))

    def _shuffled_names(self, period: str) -> list[Name]:
        if period not in self._names:
            names = names_of_share(list(PERIODS).index(period))
            random.Random(f"{self.seed}/{period}/names").shuffle(names)
            self._names[period] = names
        return self._names[period]


def _date(period: str, index: int) -> datetime.date:
    return PERIODS[period] + datetime.timedelta(days=index // ARTICLES_PER_DAY)
