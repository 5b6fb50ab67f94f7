"""Translation in the generated world: one sentence in English and in invented languages.

    English   Clara Alden plays the cello and keeps a gecko
    kel       Clara Alden Norvale tailor Wexford Kelham judge

A language maps each of 22 English words to a word of its own and drops articles; its grammar, one of three, puts the
verb last, the person last, or both the clauses and their words in reverse. The words of all languages come from one
pool, and differ in what they mean: a model that learns the next language loses the last one's dictionary. Sentence i of
a split is the same in every language. People of train, validation and test differ. Chance is near 0.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from cmt_cli.core.stream import Stream
from cmt_cli.data.labelled.held_out import in_order
from cmt_cli.data.labelled.items import Item, SplitPolicy
from cmt_cli.data.labelled.labelled_files import generated_corpus
from cmt_cli.data.labelled.labelled_stream import Format, Limits, labelled_stream
from cmt_cli.data.translation.parallel import Directions
from cmt_cli.data.world.labelled_corpus import WorldCorpus
from cmt_cli.data.world.names import Name
from cmt_cli.data.world.skills import SKILLS
from cmt_cli.data.world.vocabulary import CITIES, JOBS

ENGLISH = ("en", "eng")
AND = "and"
GRAMMARS = ("verb last", "person last", "all reversed")
NUM_CLAUSES = 2
TOLD = tuple(SKILLS[name] for name in ("instruments", "languages", "pets"))  # what sentences say of a person

Clause = tuple[str, str]  # a skill's verb, and a value


@dataclass(frozen=True, kw_only=True, slots=True)
class Translations(WorldCorpus):
    """The size of the generated corpus: `directions` such as en-kel, and sentences of each split.

    The codes en and eng are English, any other is an invented language: the first code named that is not English has
    the first dictionary and grammar that `seed` makes, and so on.
    """

    directions: Sequence[str]

    def items(self, split: str, number: int, people: Sequence[Name]) -> Iterable[Item]:
        """Yield the items of a split; sentence i depends on (seed, split, i) alone."""
        codes = dict.fromkeys(code for direction in self.directions for code in direction.split("-"))
        rows = [self._row(f"{split}/{i}", people, codes) for i in range(number)]
        for direction in self.directions:
            yield from (_item(direction, f"{split}-{i:06d}", row) for i, row in enumerate(rows))

    def _row(self, place: str, people: Sequence[Name], codes: Iterable[str]) -> dict[str, str]:
        """Return one sentence in each language."""
        rng = random.Random(f"{self.seed}/{place}")
        name = rng.choice(people).full
        skills = rng.sample(TOLD, NUM_CLAUSES)
        values = [rng.choice(skill.values) for skill in skills]
        clauses = [skill.clause.format(value=value) for skill, value in zip(skills, values, strict=True)]
        pairs = [(skill.clause.split()[0], value) for skill, value in zip(skills, values, strict=True)]
        row, language = {}, 0
        for code in codes:
            if code in ENGLISH:
                row[code] = f"{name} {f' {AND} '.join(clauses)}"
            else:
                words, grammar = dictionary(language, self.seed), GRAMMARS[language % len(GRAMMARS)]
                row[code] = invented_sentence(name, pairs, words, grammar)
                language += 1
        return row


@cache
def dictionary(language: int, seed: int) -> dict[str, str]:
    """Return the words of an invented language by the English word that they translate."""
    english = [AND, *(skill.clause.split()[0] for skill in TOLD)]
    english += [value for skill in TOLD for value in skill.values]
    pool = [*CITIES, *JOBS]
    return dict(zip(english, random.Random(f"{seed}/language/{language}").sample(pool, len(english)), strict=True))


def invented_sentence(name: str, clauses: Sequence[Clause], words: dict[str, str], grammar: str) -> str:
    """Return what is said of a person in an invented language, by its dictionary and one of GRAMMARS."""
    said = [[words[verb], words[value]] for verb, value in clauses]
    if grammar == "person last":
        return " ".join([*said[0], words[AND], *said[1], name])
    if grammar == "all reversed":
        said = said[::-1]
    return " ".join([name, *said[0][::-1], words[AND], *said[1][::-1]])


def _item(direction: str, suffix: str, row: dict[str, str]) -> Item:
    source, target = direction.split("-")
    fields = {"source": row[source], "source_language": source, "target_language": target}
    return Item(f"{direction}-{suffix}", direction, fields, (row[target],))


def world_translation(
    *, directions: Directions, split_policy: SplitPolicy, limits: Limits, format: Format, generated: Translations
) -> Stream:
    """Return the generated stream with a task for each direction."""
    corpus, provenance = generated_corpus("world_translation", generated, split_policy)
    named = {
        split: [replace(item, fields=_named(item, directions)) for item in items]
        for split, items in corpus.splits.items()
    }
    divided, _ = in_order(named, directions.order, directions.missing_tasks)
    return labelled_stream(divided, labels=(), limits=limits, format=format, provenance=provenance)


def _named(item: Item, directions: Directions) -> dict[str, str]:
    languages = {
        key: directions.languages.get(item.fields[key], item.fields[key])
        for key in ("source_language", "target_language")
    }
    return {**item.fields, **languages}
