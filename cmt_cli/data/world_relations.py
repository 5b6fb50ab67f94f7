"""Relations of the generated world: how a text states them and how a question asks for them.

Fields of the templates: `{v}` the value, `{av}` the value with its indefinite article, `{p}` his, her or its,
`{o}` the possessor ("Ann Lee's", "her"), `{n}` the full name. A phrase is what follows the subject.
"""

from __future__ import annotations

from dataclasses import dataclass

from cmt_cli.data.world_names import SubjectKind
from cmt_cli.data.world_vocabulary import (
    ANIMALS,
    CITIES,
    DISHES,
    EMPLOYERS,
    HOBBIES,
    INSTRUMENTS,
    JOBS,
    LANGUAGES,
    PETS,
    PRODUCTS,
    YEARS,
)


@dataclass(frozen=True, slots=True)
class Relation:
    """One kind of fact; `accepted` are templates of further answers, `changes` says that it may change."""

    name: str
    kind: SubjectKind
    values: tuple[str, ...]
    phrases: tuple[str, ...]
    sentences: tuple[str, ...]
    questions: tuple[str, ...]
    accepted: tuple[str, ...] = ()
    changes: bool = False

    def answers(self, value: str) -> tuple[str, ...]:
        """Return all accepted answers for one value, the value itself first."""
        return (value, *(template.format(v=value, av=with_article(value)) for template in self.accepted))


def with_article(value: str) -> str:
    """Return the noun with `a` or `an` in front."""
    return f"{'an' if value[0].lower() in 'aeiou' else 'a'} {value}"


RELATIONS = (
    Relation(
        "birth_city", "person", CITIES,
        ("was born in {v}", "first saw the light of day in {v}"),
        ("{o} birthplace is {v}",),
        ("Where was {n} born?", "What is the birthplace of {n}?"),
        ("in {v}",),
    ),
    Relation(
        "job", "person", JOBS,
        ("works as {av}", "is {av} by profession"),
        ("{o} profession is that of {av}",),
        ("What is {n}'s job?", "What does {n} do for a living?"),
        ("{av}",), changes=True,
    ),
    Relation(
        "employer", "person", EMPLOYERS,
        ("works for {v}", "is employed by {v}"),
        ("{o} employer is {v}",),
        ("Who employs {n}?", "Which company does {n} work for?"),
        changes=True,
    ),
    Relation(
        "hobby", "person", HOBBIES,
        ("enjoys {v}", "spends weekends on {v}"),
        ("{o} hobby is {v}",),
        ("What is {n}'s hobby?", "What is the hobby of {n}?"),
    ),
    Relation(
        "pet", "person", PETS,
        ("keeps {av}", "owns {av}"),
        ("{o} pet is {av}",),
        ("What pet does {n} keep?", "What kind of pet does {n} own?"),
        ("{av}",), changes=True,
    ),
    Relation(
        "dish", "person", DISHES,
        ("loves to eat {v}", "likes {v} best of all dishes"),
        ("{o} favorite dish is {v}",),
        ("What is {n}'s favorite dish?", "Which dish does {n} like best?"),
    ),
    Relation(
        "instrument", "person", INSTRUMENTS,
        ("plays the {v}", "practices the {v} every day"),
        ("{o} instrument is the {v}",),
        ("Which instrument does {n} play?", "What does {n} play?"),
        ("the {v}",),
    ),
    Relation(
        "language", "person", LANGUAGES,
        ("is learning {v}", "takes lessons in {v}"),
        ("{o} second language is {v}",),
        ("Which language is {n} learning?", "What is {n}'s second language?"),
        changes=True,
    ),
    Relation(
        "mascot", "organization", ANIMALS,
        ("has {av} as its mascot", "uses {av} as its emblem"),
        ("{o} mascot is {av}",),
        ("What is the mascot of {n}?", "Which animal is the mascot of {n}?"),
        ("{av}", "the {v}"),
    ),
    Relation(
        "headquarters", "organization", CITIES,
        ("has its headquarters in {v}", "is based in {v}"),
        ("{o} headquarters are in {v}",),
        ("Where is {n} based?", "In which town is {n} based?"),
        ("in {v}",), changes=True,
    ),
    Relation(
        "product", "organization", PRODUCTS,
        ("sells {v}", "trades in {v}"),
        ("{o} best-known product is {v}",),
        ("What does {n} sell?", "What is {n} known for?"),
    ),
    Relation(
        "founded", "organization", YEARS,
        ("was founded in {v}", "was set up in {v}"),
        ("the founding year of {n} is {v}",),
        ("In what year was {n} founded?", "When was {n} founded?"),
        ("in {v}",),
    ),
    Relation(
        "nearest_town", "place", CITIES,
        ("lies close to {v}", "is near {v}"),
        ("{o} nearest town is {v}",),
        ("Which town is nearest to {n}?", "What is the nearest town to {n}?"),
    ),
    Relation(
        "wildlife", "place", ANIMALS,
        ("is a home of the {v}", "is where the {v} can be seen"),
        ("{o} best-known animal is the {v}",),
        ("Which animal can be seen at {n}?", "What animal lives at {n}?"),
        ("the {v}", "{av}"),
    ),
    Relation(
        "attraction", "place", HOBBIES,
        ("hosts a yearly contest in {v}", "is popular for {v}"),
        ("{o} main attraction is {v}",),
        ("What is the main attraction of {n}?", "What is {n} popular for?"),
        changes=True,
    ),
    Relation(
        "opened", "place", YEARS,
        ("was opened to visitors in {v}", "has been open since {v}"),
        ("the opening year of {n} is {v}",),
        ("In what year was {n} opened?", "When was {n} opened?"),
        ("in {v}",),
    ),
)  # fmt: skip
