"""Five skills on one kind of text, learned one after the other: a labelled stream in which tasks interfere.

A text says things about a person; each task fills one field of a form from it:

    Clara Osgood plays the cello and keeps a gecko.
    Form: animals
    Entry: gecko

Within a task the field never changes, so a model that is trained on one task alone loses sight of the heading and fills
every form with what the newest task asks for. Joint training has no such way out. The more things a text says, the more
often the newest field is there to be mistaken for the one that the form names. The embedded model reads such texts but
was never taught what a form is. Generated data, our own text. A field has six values, so chance (a constant answer) is
1/6. People of train, validation and test differ.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.stream import Episodes, Example, Provenance, Stream, Task, TestSet
from cmt_cli.data.files.generated import generator_version
from cmt_cli.data.files.origin import GENERATED_LICENSE
from cmt_cli.data.labelled.items import SPLITS
from cmt_cli.data.world.labelled_corpus import SplitSizes, names_of_split
from cmt_cli.data.world.names import Name

FIELDS = ("{text}", "{heading}")


@dataclass(frozen=True, slots=True)
class Skill:
    """A field of the form: its heading, the clause of a text that fills it, and its values."""

    heading: str
    clause: str  # holds {value}
    values: tuple[str, ...]


SKILLS: Mapping[str, Skill] = {
    "instruments": Skill("music", "plays the {value}", ("cello", "flute", "drums", "piano", "guitar", "trumpet")),
    "languages": Skill("speech", "speaks {value}", ("Czech", "French", "Danish", "Arabic", "Hindi", "Korean")),
    "dishes": Skill("kitchen", "likes {value}", ("lasagna", "ramen", "tacos", "quiche", "curry", "falafel")),
    "pets": Skill("animals", "keeps a {value}", ("parrot", "poodle", "hamster", "gecko", "rabbit", "goat")),
    "hobbies": Skill("leisure", "enjoys {value}", ("rowing", "knitting", "boxing", "rugby", "chess", "hiking")),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes(SplitSizes):
    """Examples of each task by split."""

    def __post_init__(self) -> None:
        """Refuse an empty split."""
        self.check("data.sizes")


def world_skills(
    *,
    order: Sequence[str],
    sizes: Sizes,
    values_per_text: int,
    stream_split: str,
    gives_task: bool,
    prompt_template: str,
    seed: int,
) -> Stream:
    """Return the stream of the skills in `order`; a text says `values_per_text` things, the field's value among them.

    `stream_split` "validation" asks the validation examples in the place of the test examples, to choose settings on.
    With `gives_task` each question carries its task's index, which its heading tells in any case.
    """
    _check(order, prompt_template)
    if not 1 <= values_per_text <= len(SKILLS):
        raise UserError(f"data.values_per_text={values_per_text} is not possible; give 1 to {len(SKILLS)}.")
    maker = Maker(prompt_template, values_per_text, seed)
    evaluated = one_of(stream_split, ("test", "validation"), "data.stream_split")
    tasks, tests = [], []
    for index, name in enumerate(order):
        made = {split: maker.examples(name, split, sizes.of(split)) for split in SPLITS}
        tasks.append(Task(name, index, made["train"], made["validation"] if evaluated == "test" else ()))
        tests.append(TestSet(name, made[evaluated], metric="em", learned_at=index, gives_task=gives_task))
    note = f"{sizes.num_train} training and {len(tests[0].examples)} {evaluated} examples per task; chance 1/6"
    split: Literal["test", "validation"] = "test" if evaluated == "test" else "validation"
    provenance = Provenance(
        "world_skills", "generated", GENERATED_LICENSE, note=note, split=split, generator=generator_version()
    )
    return Stream("world_skills", tasks, tests, Episodes(), provenance)


def _check(order: Sequence[str], prompt_template: str) -> None:
    for name in order:
        if name not in SKILLS:
            raise UserError(f"data.order names '{name}'; the skills are {', '.join(SKILLS)}.{nearest(name, SKILLS)}")
    if not order or len(set(order)) < len(order):
        raise UserError(f"data.order={list(order)} must name at least one skill, and none twice.")
    if missing := [field for field in FIELDS if field not in prompt_template]:
        raise UserError(f"data.prompt_template={prompt_template!r} lacks {' and '.join(missing)}.")


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes examples; example i depends on (seed, skill, split, i) alone."""

    template: str
    values_per_text: int
    seed: int

    def examples(self, skill: str, split: str, number: int) -> list[Example]:
        """Return a skill's examples of one split."""
        people = names_of_split(split)
        return [self._example(skill, f"{split}-{i:05d}", people) for i in range(number)]

    def _example(self, skill: str, suffix: str, people: Sequence[Name]) -> Example:
        rng = random.Random(f"{self.seed}/{skill}/{suffix}")
        name = rng.choice(people).full
        said = [skill, *rng.sample([other for other in SKILLS if other != skill], self.values_per_text - 1)]
        values = {key: rng.choice(SKILLS[key].values) for key in said}
        clauses = [SKILLS[key].clause.format(value=values[key]) for key in said]
        rng.shuffle(clauses)
        text = f"{name} {', '.join(clauses[:-1])}{' and ' if clauses[1:] else ''}{clauses[-1]}."
        prompt = self.template.replace("{text}", text).replace("{heading}", SKILLS[skill].heading)
        choices = tuple(f" {value}" for value in SKILLS[skill].values)
        return Example(f"{skill}-{suffix}", prompt, f" {values[skill]}", (values[skill],), choices)
