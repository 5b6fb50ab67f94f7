"""Relations of the generated world: how a text states them and how a question asks for them.

Fields of the templates: `{v}` the value, `{av}` the value with its indefinite article, `{p}` his, her or its,
`{o}` the possessor ("Ann Lee's", "her"), `{n}` the full name. A phrase is what follows the subject.
"""

from __future__ import annotations

from dataclasses import dataclass

from cmt_cli.data.world.vocabulary import (
    CITIES,
    DISHES,
    EMPLOYERS,
    HOBBIES,
    INSTRUMENTS,
    JOBS,
    LANGUAGES,
    PETS,
)


@dataclass(frozen=True, slots=True)
class Relation:
    """One kind of fact; `accepted` are templates of further answers, `changes` says that it may change."""

    name: str
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
        "birth_city", CITIES,
        ("was born in {v}", "first saw the light of day in {v}"),
        ("{o} birthplace is {v}",),
        ("Where was {n} born?", "What is the birthplace of {n}?"),
        ("in {v}",),
    ),
    Relation(
        "job", JOBS,
        ("works as {av}", "is {av} by profession"),
        ("{o} profession is that of {av}",),
        ("What is {n}'s job?", "What does {n} do for a living?"),
        ("{av}",), changes=True,
    ),
    Relation(
        "employer", EMPLOYERS,
        ("works for {v}", "is employed by {v}"),
        ("{o} employer is {v}",),
        ("Who employs {n}?", "Which company does {n} work for?"),
        changes=True,
    ),
    Relation(
        "hobby", HOBBIES,
        ("enjoys {v}", "spends weekends on {v}"),
        ("{o} hobby is {v}",),
        ("What is {n}'s hobby?", "What is the hobby of {n}?"),
    ),
    Relation(
        "pet", PETS,
        ("keeps {av}", "owns {av}"),
        ("{o} pet is {av}",),
        ("What pet does {n} keep?", "What kind of pet does {n} own?"),
        ("{av}",), changes=True,
    ),
    Relation(
        "dish", DISHES,
        ("loves to eat {v}", "likes {v} best of all dishes"),
        ("{o} favorite dish is {v}",),
        ("What is {n}'s favorite dish?", "Which dish does {n} like best?"),
    ),
    Relation(
        "instrument", INSTRUMENTS,
        ("plays the {v}", "practices the {v} every day"),
        ("{o} instrument is the {v}",),
        ("Which instrument does {n} play?", "What does {n} play?"),
        ("the {v}",),
    ),
    Relation(
        "language", LANGUAGES,
        ("is learning {v}", "takes lessons in {v}"),
        ("{o} second language is {v}",),
        ("Which language is {n} learning?", "What is {n}'s second language?"),
        changes=True,
    ),
)  # fmt: skip
