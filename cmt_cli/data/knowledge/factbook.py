"""The World Factbook as a stream of facts that change: its editions are the tasks (public domain, closed in 2026).

`path` is a folder of editions in the layout of github.com/factbook/factbook.json, each named by its date. Of each
country and edition short articles are made, one for each group of fields, which say their date; questions ask for one
field as of that date. Countries are divided into splits, so that the stream asks about others than meta-training.

What became of a fact is decided by its value and not by its text: see `factbook_changes.py`, and `factbook_cleaning.py`
for the rules that make answers of texts. The result's note counts both.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.stream import Document, Stream
from cmt_cli.data.files.origin import Layout, Shares, load, origin
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.knowledge.factbook_changes import Asked, history
from cmt_cli.data.knowledge.factbook_cleaning import Tally, plain
from cmt_cli.data.knowledge.factbook_fields import FIELDS, Field
from cmt_cli.data.knowledge.factbook_profiles import Editions, Profile, nameless_note, read_editions
from cmt_cli.data.knowledge.factbook_stand_in import write
from cmt_cli.data.knowledge.factbook_values import Stated
from cmt_cli.data.knowledge.knowledge_stream import QuestionFormat, Selection, knowledge_stream
from cmt_cli.data.knowledge.qa_corpus import SPLITS, Ids, PartBuilder, QACorpus, Question
from cmt_cli.data.world.countries import Countries

SKIP = "skip"
ALL = frozenset(field.name for field in FIELDS)
_MAX_TEXT = 300  # characters of a field in an article, cut at a word
_TOO_FEW = " A group is a country."


def factbook(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    fields: Sequence[str] | None,
    gone: str,
    split: Shares,
    selection: Selection,
    prompt_template: str,
    capitalize_answers: bool,
    generated: Countries,
) -> Stream:
    """Return the stream of the editions: a task each, with questions as of its date.

    `fields` are the names of those that are asked, of `FIELDS`; None asks all. Articles state them all the same.
    Facts of which an edition says that they are no more, such as an office that is vacant, are left out and counted
    where `gone` is "skip", or have it for their answer.
    """
    if not gone.strip():
        raise UserError("data.gone is empty: set it to skip, or to the answer about facts that are no more.")
    for name in fields or ():
        one_of(name, sorted(ALL), "data.fields")
    layout = dataclasses.replace(LAYOUT, read=partial(read, gone=gone, asked=frozenset(fields or ALL)))
    chosen = origin(
        path=path, default_path=default_path, source=source, auto_may_generate=auto_may_generate, cache=cache
    )
    corpus, provenance = load(layout, chosen, generated.write)
    provenance = provenance.noted(corpus.division_note(split), *corpus.notes)
    return knowledge_stream(
        corpus.divided(split),
        selection,
        num_tasks=None,
        questions=QuestionFormat(prompt_template=prompt_template, capitalize_answers=capitalize_answers),
        provenance=provenance,
    )


def read(path: Path, gone: str = SKIP, asked: frozenset[str] = ALL) -> tuple[QACorpus, list[Problem]]:
    """Read a folder of editions; questions are about the fields `asked`."""
    problems: list[Problem] = []
    cleaned: Tally = Counter()
    compared: Tally = Counter()
    unclear: Tally = Counter()
    changed: Tally = Counter()
    editions = read_editions(path, problems, cleaned)
    builder = PartBuilder(SPLITS, problems, Ids())
    by_edition: dict[str, Counter[str]] = {date: Counter() for date in editions.dates}
    for profiles in editions.profiles.values():
        facts = {
            field.name: _facts(profiles, field, cleaned, compared, unclear) for field in FIELDS if field.name in asked
        }
        for place, profile in enumerate(profiles):
            stated = {name: fact for name, found in facts.items() if (fact := found[place]) is not None}
            by_edition[profile.edition].update(fact.change for fact in stated.values())
            changed.update(name for name, fact in stated.items() if fact.change == "changed")
            _add(builder, profile, stated, gone)
    notes = (*_notes(editions, by_edition, changed, cleaned, compared, unclear), nameless_note(editions))
    return QACorpus((builder.build(),), tuple(editions.files), notes, _TOO_FEW), problems


def _facts(
    profiles: Sequence[Profile], field: Field, cleaned: Tally, compared: Tally, unclear: Tally
) -> list[Asked | None]:
    stated: list[tuple[str, Stated] | None] = []
    for profile in profiles:
        text = profile.texts.get(field.name)
        found = None if text is None else (text, field.read(text, cleaned))
        if found is not None and found[1].value is None and not found[1].is_none:
            unclear[field.name] += 1
        stated.append(found)
    return history(stated, field.same, compared)


def _add(builder: PartBuilder, profile: Profile, facts: Mapping[str, Asked], gone: str) -> None:
    """Add a country's articles of one edition, and the questions about them."""
    date = spoken(profile.edition)
    for article, fields in _articles(profile):
        document_id = f"{profile.code}/{profile.edition}/{article.replace(' ', '-')}"
        name = profile.name[:1].upper() + profile.name[1:]
        said = " ".join(
            f"{field.label.replace('{country}', profile.name)}: {_shown(profile.texts[field.name])}."
            for field in fields
        )
        text = f"{name}, {article}, as of {date}. {said}"
        document = Document(document_id, text, profile.edition, f"{name}: {article}")
        kept = builder.add_document(profile.record, document, profile.code, profile.edition)
        for field in fields:
            fact = facts.get(field.name)
            if kept is None or fact is None or (fact.change == "gone" and gone == SKIP):
                continue
            question = Question(
                f"{profile.code}/{profile.edition}/{field.name}",
                f"As of {date}, {field.question.replace('{country}', profile.name)}",
                fact.answers or (gone,),
                kept,
                fact.change,
                fact.earlier,
            )
            builder.add_question(profile.record, question)


def _articles(profile: Profile) -> Iterator[tuple[str, list[Field]]]:
    for article in dict.fromkeys(field.article for field in FIELDS):
        fields = [field for field in FIELDS if field.article == article and field.name in profile.texts]
        if fields:
            yield article, fields


def _shown(text: str) -> str:
    """Return a field's text as an article states it, its end cut at a word where it is long."""
    whole = plain(text, Counter()).rstrip(".")
    if len(whole) <= _MAX_TEXT:
        return whole
    return f"{whole[:_MAX_TEXT].rsplit(' ', 1)[0].rstrip(' ,;')} ..."


def spoken(date: str) -> str:
    """Return an ISO date as a sentence has it: 27 November 2020."""
    day = datetime.date.fromisoformat(date)
    months = "January February March April May June July August September October November December".split()
    return f"{day.day} {months[day.month - 1]} {day.year}"


def _notes(
    editions: Editions,
    by_edition: Mapping[str, Counter[str]],
    changed: Tally,
    cleaned: Tally,
    compared: Tally,
    unclear: Tally,
) -> list[str]:
    order = ("new", "unchanged", "changed", "gone")
    facts = [
        f"{date} {', '.join(f'{count[name]:,} {name}' for name in order if count[name])}"
        for date, count in by_edition.items()
    ]
    differing = sum(compared.values()) - compared["equal strings"]
    unchanged = differing - compared["changed facts"]
    return [
        f"{counted(len(editions.profiles), 'profile')} in {counted(len(editions.dates), 'edition')}",
        f"facts of all splits by edition: {' | '.join(facts)}",
        f"of {differing:,} facts whose strings differ from the edition before, {unchanged:,} are no changes "
        f"({_counts(compared, without=('equal strings', 'changed facts'))})",
        f"changed facts by field: {_counts(changed)}",
        f"texts that a cleaning rule changed: {_counts(cleaned)}",
        f"not understood and not asked: {_counts(unclear)}",
    ]


def _counts(tally: Tally, without: Sequence[str] = ()) -> str:
    found = [f"{name.removeprefix('no change: ')} {n:,}" for name, n in tally.most_common() if name not in without]
    return ", ".join(found) or "none"


LAYOUT = Layout(
    name="factbook",
    license="public domain",
    how_to_get=(
        "Put editions of github.com/factbook/factbook.json into {path}, each as a folder named by its date. With a "
        "clone of it, `mkdir -p {path}/2020-11-27 && git archive 24b4d8db | tar -x -C {path}/2020-11-27` exports one "
        "commit, and `git log --format='%h %as'` lists them."
    ),
    read=read,
    write=write,
)
