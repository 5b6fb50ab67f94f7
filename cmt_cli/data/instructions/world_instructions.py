"""Instructions in the generated world: five kinds of work on texts that all look alike.

    Clara Alden plays the cello, keeps a gecko and speaks Czech.
    extract   Which pet?                    gecko
    list      List what is named.           cello, gecko, Czech
    count     Count what is named.          3
    reverse   List it in reverse.           Czech, gecko, cello
    rewrite   Rewrite with a pronoun.       She plays the cello, keeps a gecko and speaks Czech.

Within a task the instruction never changes, so a model that is trained on one task alone loses sight of it and does the
newest task's work on every text. People of train, validation and test differ. Chance: 1/6 for extract, 1/3 for count
(of 2 to 4), near 0 for the others.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cmt_cli.core.stream import Stream
from cmt_cli.data.labelled.held_out import in_order
from cmt_cli.data.labelled.items import Item, SplitPolicy
from cmt_cli.data.labelled.labelled_files import generated_corpus
from cmt_cli.data.labelled.labelled_stream import Format, Limits, labelled_stream
from cmt_cli.data.world.labelled_corpus import WorldCorpus
from cmt_cli.data.world.names import Name
from cmt_cli.data.world.skills import SKILLS

KINDS = {
    "extract": "Which {noun}?",
    "list": "List what is named.",
    "count": "Count what is named.",
    "reverse": "List it in reverse.",
    "rewrite": "Rewrite with a pronoun.",
}
NOUNS = {
    "pets": "pet",
    "dishes": "dish",
    "instruments": "instrument",
    "languages": "language",
    "hobbies": "hobby",
}  # of SKILLS, in the order in which repeated tasks of the kind "extract" ask for them
NUM_CLAUSES = (2, 4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Instructions(WorldCorpus):
    """The size of the generated corpus: its tasks, and examples of each by split.

    A task that bears the name of a kind is of that kind. Any other, such as the number of a task that this corpus
    stands in for, is of the kind at its place, the five repeating.
    """

    tasks: Sequence[str | int]

    def items(self, split: str, number: int, people: Sequence[Name]) -> Iterable[Item]:
        """Yield the items of a split; item i of a task depends on (seed, split, task, i) alone."""
        for place, task in enumerate(map(str, self.tasks)):
            kind = task if task in KINDS else list(KINDS)[place % len(KINDS)]
            wanted = list(NOUNS)[0 if task in KINDS else place // len(KINDS) % len(NOUNS)]
            yield from (self._item(task, f"{split}-{i:05d}", kind, wanted, people) for i in range(number))

    def _item(self, task: str, suffix: str, kind: str, wanted: str, people: Sequence[Name]) -> Item:
        rng = random.Random(f"{self.seed}/{task}/{suffix}")
        name = rng.choice(people)
        skills = rng.sample(sorted(SKILLS), rng.randint(*NUM_CLAUSES))
        if kind == "extract" and wanted not in skills:
            skills[rng.randrange(len(skills))] = wanted
        values = {skill: rng.choice(SKILLS[skill].values) for skill in skills}
        fields = {
            "definition": KINDS[kind].format(noun=NOUNS[wanted]),
            "input": _sentence(name.full, values),
        }
        return Item(f"{task}-{suffix}", task, fields, (answer(kind, name, values, wanted),))


def answer(kind: str, name: Name, values: dict[str, str], wanted: str) -> str:
    """Return what an instruction of a kind makes of a text with these values; `wanted` is the skill of "extract"."""
    named = list(values.values())
    if kind == "extract":
        return values[wanted]
    if kind == "count":
        return str(len(named))
    if kind == "rewrite":
        return _sentence(name.pronoun.capitalize(), values)
    return ", ".join(named if kind == "list" else named[::-1])


def _sentence(subject: str, values: dict[str, str]) -> str:
    clauses = [SKILLS[skill].clause.format(value=value) for skill, value in values.items()]
    return f"{subject} {', '.join(clauses[:-1])} and {clauses[-1]}."


def world_instructions(
    *, order: Sequence[str], split_policy: SplitPolicy, limits: Limits, format: Format, generated: Instructions
) -> Stream:
    """Return the generated stream with a task for each kind of instruction in `order`."""
    corpus, provenance = generated_corpus("world_instructions", generated, split_policy)
    divided, _ = in_order(corpus.splits, order, "error")
    return labelled_stream(divided, labels=(), limits=limits, format=format, provenance=provenance)
