"""Relations of the generated world: how a text states them and how a question asks for them.

Fields of the templates: `{v}` the value, `{av}` the value with its indefinite article, `{p}` his, her or its,
`{o}` the possessor ("Ann Lee's", "her"), `{n}` the full name. A phrase is what follows the subject.
"""

from __future__ import annotations

from dataclasses import dataclass

from cmt_cli.data.world_names import FIRST_NAMES, SubjectKind
from cmt_cli.data.world_vocabulary import (
    ANIMALS,
    CITIES,
    COLLECTIONS,
    DISHES,
    EMPLOYERS,
    HOBBIES,
    INSTRUMENTS,
    JOBS,
    LANGUAGES,
    PETS,
    PRODUCTS,
    SUBJECTS,
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
        ("was born in {v}", "first saw the light of day in {v}", "was born in the town of {v}",
         "comes from {v} by birth"),
        ("{o} birthplace is {v}", "the birthplace of {n} is {v}"),
        ("Where was {n} born?", "What is the birthplace of {n}?", "In which town was {n} born?",
         "What is {n}'s birthplace?"),
        ("in {v}",),
    ),
    Relation(
        "home_city", "person", CITIES,
        ("lives in {v}", "has settled in {v}", "makes {p} home in {v}", "resides in {v}",
         "has a house in {v}"),
        ("{o} home is in {v}", "the home of {n} is in {v}"),
        ("Where does {n} live?", "In which town does {n} live?", "What is the home town of {n}?",
         "Where is {n}'s home?"),
        ("in {v}",), changes=True,
    ),
    Relation(
        "job", "person", JOBS,
        ("works as {av}", "is {av} by profession", "earns a living as {av}", "is {av}",
         "makes a living as {av}"),
        ("{o} profession is that of {av}", "{o} job is that of {av}"),
        ("What is {n}'s job?", "What does {n} do for a living?", "What is the profession of {n}?",
         "What does {n} work as?"),
        ("{av}",), changes=True,
    ),
    Relation(
        "employer", "person", EMPLOYERS,
        ("works for {v}", "is employed by {v}", "has a post at {v}", "is on the staff of {v}"),
        ("{o} employer is {v}", "{v} employs {n}", "{v} has {n} on its staff"),
        ("Who employs {n}?", "Which company does {n} work for?", "Who is {n}'s employer?",
         "What is the employer of {n}?"),
        changes=True,
    ),
    Relation(
        "hobby", "person", HOBBIES,
        ("enjoys {v}", "spends weekends on {v}", "is fond of {v}", "relaxes with {v}",
         "has a passion for {v}"),
        ("{o} hobby is {v}", "{o} favorite pastime is {v}"),
        ("What is {n}'s hobby?", "What is the hobby of {n}?", "Which pastime does {n} enjoy?",
         "What does {n} do in free time?"),
    ),
    Relation(
        "pet", "person", PETS,
        ("keeps {av}", "owns {av}", "shares the house with {av}", "looks after {av}"),
        ("{o} pet is {av}", "{av} is the pet of {n}"),
        ("What pet does {n} keep?", "What kind of pet does {n} own?", "What is {n}'s pet?",
         "Which animal is the pet of {n}?"),
        ("{av}",), changes=True,
    ),
    Relation(
        "dish", "person", DISHES,
        ("loves to eat {v}", "likes {v} best of all dishes", "often cooks {v}",
         "orders {v} in every restaurant"),
        ("{o} favorite dish is {v}", "the favorite food of {n} is {v}"),
        ("What is {n}'s favorite dish?", "Which dish does {n} like best?",
         "What is the favorite food of {n}?", "What does {n} love to eat?"),
    ),
    Relation(
        "instrument", "person", INSTRUMENTS,
        ("plays the {v}", "practices the {v} every day", "performs on the {v}", "took up the {v}"),
        ("{o} instrument is the {v}", "the {v} is the instrument of {n}"),
        ("Which instrument does {n} play?", "What does {n} play?", "What is {n}'s instrument?",
         "What instrument does {n} practice?"),
        ("the {v}",),
    ),
    Relation(
        "subject", "person", SUBJECTS,
        ("studied {v}", "holds a degree in {v}", "graduated in {v}", "read {v} at college"),
        ("{o} degree is in {v}", "{o} field of study was {v}"),
        ("What did {n} study?", "Which subject did {n} study?", "In what did {n} graduate?",
         "What is {n}'s degree in?"),
        ("in {v}",),
    ),
    Relation(
        "collection", "person", COLLECTIONS,
        ("collects {v}", "has gathered hundreds of {v}", "buys old {v} at auctions", "is a collector of {v}"),
        ("{o} collection consists of {v}", "the collection of {n} consists of {v}"),
        ("What does {n} collect?", "What is in {n}'s collection?", "What is {n} a collector of?",
         "What does the collection of {n} consist of?"),
    ),
    Relation(
        "language", "person", LANGUAGES,
        ("is learning {v}", "takes lessons in {v}", "speaks fluent {v}", "has mastered {v}"),
        ("{o} second language is {v}", "the second language of {n} is {v}"),
        ("Which language is {n} learning?", "What is {n}'s second language?",
         "What language does {n} speak?", "Which language has {n} mastered?"),
        changes=True,
    ),
    Relation(
        "spouse", "person", FIRST_NAMES,
        ("is married to {v}", "shares {p} life with {v}", "tied the knot with {v}", "wed {v}"),
        ("{o} spouse is called {v}", "{v} is the spouse of {n}"),
        ("Who is {n} married to?", "Who is the spouse of {n}?", "What is {n}'s spouse called?",
         "Whom did {n} wed?"),
        ("to {v}",),
    ),
    Relation(
        "birth_year", "person", YEARS,
        ("was born in the year {v}", "came into the world in {v}", "has {p} birth recorded in {v}"),
        ("{o} year of birth is {v}", "the year of birth of {n} is {v}"),
        ("In what year was {n} born?", "What is {n}'s year of birth?",
         "In which year did {n} come into the world?"),
        ("in {v}",),
    ),
    Relation(
        "mascot", "organization", ANIMALS,
        ("has {av} as its mascot", "uses {av} as its emblem", "shows {av} on its sign"),
        ("{o} mascot is {av}", "{av} is the mascot of {n}"),
        ("What is the mascot of {n}?", "Which animal is the mascot of {n}?",
         "What animal is on the sign of {n}?"),
        ("{av}", "the {v}"),
    ),
    Relation(
        "headquarters", "organization", CITIES,
        ("has its headquarters in {v}", "is based in {v}", "is run from {v}", "has its main office in {v}"),
        ("{o} headquarters are in {v}", "the headquarters of {n} are in {v}"),
        ("Where is {n} based?", "In which town is {n} based?", "Where are the headquarters of {n}?"),
        ("in {v}",), changes=True,
    ),
    Relation(
        "founded", "organization", YEARS,
        ("was founded in {v}", "was set up in {v}", "goes back to {v}", "was established in {v}"),
        ("the founding year of {n} is {v}", "{o} founding year is {v}"),
        ("In what year was {n} founded?", "When was {n} founded?", "What is the founding year of {n}?"),
        ("in {v}",),
    ),
    Relation(
        "director", "organization", FIRST_NAMES,
        ("is led by {v}", "is run by a director called {v}", "has {v} as its director"),
        ("{o} director is called {v}", "{v} is the director of {n}"),
        ("Who leads {n}?", "Who is the director of {n}?", "What is the director of {n} called?"),
        ("by {v}",), changes=True,
    ),
    Relation(
        "product", "organization", PRODUCTS,
        ("sells {v}", "trades in {v}", "is known for its {v}", "also makes {v}"),
        ("{o} best-known product is {v}", "the best-known product of {n} is {v}"),
        ("What does {n} sell?", "What is {n} known for?", "What is the best-known product of {n}?"),
    ),
    Relation(
        "nearest_town", "place", CITIES,
        ("lies close to {v}", "is near {v}", "is a short walk from {v}", "can be reached from {v}"),
        ("{o} nearest town is {v}", "the town nearest to {n} is {v}"),
        ("Which town is nearest to {n}?", "What is the nearest town to {n}?", "Which town is {n} close to?"),
    ),
    Relation(
        "wildlife", "place", ANIMALS,
        ("is a home of the {v}", "is where the {v} can be seen", "shelters the rare {v}"),
        ("{o} best-known animal is the {v}", "the animal of {n} is the {v}"),
        ("Which animal can be seen at {n}?", "What animal lives at {n}?",
         "What is the best-known animal of {n}?"),
        ("the {v}", "{av}"),
    ),
    Relation(
        "opened", "place", YEARS,
        ("was opened to visitors in {v}", "has been open since {v}", "was first mapped in {v}"),
        ("the opening year of {n} is {v}", "{o} opening year is {v}"),
        ("In what year was {n} opened?", "When was {n} opened?", "What is the opening year of {n}?"),
        ("in {v}",),
    ),
    Relation(
        "warden", "place", FIRST_NAMES,
        ("is looked after by {v}", "is cared for by {v}", "has a warden called {v}"),
        ("{o} warden is called {v}", "{v} is the warden of {n}"),
        ("Who looks after {n}?", "Who is the warden of {n}?", "What is the warden of {n} called?"),
        ("by {v}",), changes=True,
    ),
    Relation(
        "attraction", "place", HOBBIES,
        ("hosts a yearly contest in {v}", "is popular for {v}", "attracts fans of {v}"),
        ("{o} main attraction is {v}", "the main attraction of {n} is {v}"),
        ("What is the main attraction of {n}?", "What is {n} popular for?", "What attracts visitors to {n}?"),
    ),
)  # fmt: skip
