"""Sentences with tagged tokens, in columns or in one line each, written and read in every usual scheme of tags.

Columns (CoNLL): a token in the first, its tag in the last, tabs or spaces between, a blank line after each sentence;
`-DOCSTART-` lines are passed over. One line each (MIT's corpora as slot-filling repositories ship them):

    Moor	B-person                    find:O a:O tart:B-Dish by:O Moor:B-Chef <=> <NULL>
    sang	O

A file whose tags other than O all begin with B- I- E- S- L- U- is read by conlleval's rules, which hold for IOB1, BIO,
BIOES and BILOU at once; one in which most do not is IO (`art-music`), where neighbors of one type are one entity.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cmt_cli.core.exceptions import CmtWarning, counted
from cmt_cli.core.spans import Entity, spans
from cmt_cli.data.files.problems import Problem, name_row
from cmt_cli.data.files.reading import numbered_lines

DOCUMENT_START = "-DOCSTART-"
END_OF_TOKENS = "<=>"
MAX_COLUMNS = 64  # CoNLL-U has 10
_PREFIXED = re.compile(r"[BIESLU]-.")


@dataclass(frozen=True, slots=True)
class Sentence:
    """The tokens of a sentence and its entities in their order; `line` is where it begins."""

    tokens: tuple[str, ...]
    entities: tuple[Entity, ...]
    line: int


@dataclass(slots=True)
class _Tagged:
    """Tokens and tags as they stand in a file, token i on line `line` + i * `step`."""

    line: int
    step: int
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    is_faulty: bool = False

    @property
    def name(self) -> str:
        """Return what tells the sentence from others of its file."""
        return f"line {self.line}"


def read_columns(file: Path, problems: list[Problem]) -> list[Sentence]:
    """Read a file of columns; a sentence with a fault is left out, an empty file is a problem."""
    return _sentences(file, list(_column_sentences(file, problems)), problems)


def read_token_lines(file: Path, problems: list[Problem]) -> list[Sentence]:
    """Read a file of `token:tag` lines; a sentence with a fault is left out, an empty file is a problem."""
    return _sentences(file, list(_line_sentences(file, problems)), problems)


def _column_sentences(file: Path, problems: list[Problem]) -> Iterator[_Tagged]:
    sentence, num_columns, start = _Tagged(0, 1), 0, len(problems)
    for number, line, is_faulty in numbered_lines(file, problems, at_cut="refuse"):
        columns = [column.strip() for column in line.split("\t")] if "\t" in line else line.split()
        if not any(columns) or columns[0] == DOCUMENT_START:
            if sentence.tokens:
                name_row(problems, start, sentence.name)
                yield sentence
            sentence, start = _Tagged(0, 1), len(problems)
            continue
        num_columns = num_columns or len(columns)
        fault = _column_fault(columns, num_columns)
        if fault:
            problems.append(Problem(file, number, fault))
            columns = ["", "O"]
        if not sentence.tokens:
            sentence.line = number
        sentence.tokens.append(columns[0])
        sentence.tags.append(columns[-1])
        sentence.is_faulty |= is_faulty or bool(fault)
    if sentence.tokens:
        warnings.warn(
            f"{file} ends without an empty line behind its last sentence, which begins at line {sentence.line}: if the "
            "file is cut off there, get the whole one.",
            CmtWarning,
            stacklevel=2,
        )
        name_row(problems, start, sentence.name)
        yield sentence


def _column_fault(columns: Sequence[str], num_columns: int) -> str | None:
    if len(columns) < 2:
        return f"has one column, '{columns[0][:40]}'; a token and its tag are needed, with a tab or space between"
    if len(columns) > MAX_COLUMNS:
        return f"has {counted(len(columns), 'column')}, as no layout has: its line endings are lost, or it is no table"
    if len(columns) != num_columns:
        return f"has {counted(len(columns), 'column')} where the first line has {num_columns}"
    if not columns[0]:
        return "has no token before the tag"
    return None if columns[-1] else f"has no tag after the token '{columns[0][:40]}'"


def _line_sentences(file: Path, problems: list[Problem]) -> Iterator[_Tagged]:
    for number, line, is_faulty in numbered_lines(file, problems, at_cut="refuse"):
        if not line.strip():
            continue
        text, mark, rest = line.partition(f" {END_OF_TOKENS}")
        pairs = [pair.rpartition(":") for pair in text.split()]
        faulty = next((token + colon + tag for token, colon, tag in pairs if not token or not tag), None)
        if not mark:
            problems.append(Problem(file, number, f"lacks ' {END_OF_TOKENS}' after its token:tag pairs"))
        elif f" {END_OF_TOKENS}" in rest:
            fault = f"has several ' {END_OF_TOKENS}': it is more than one sentence, whose line endings are lost"
            problems.append(Problem(file, number, fault))
        elif faulty is not None or not pairs:
            problems.append(
                Problem(file, number, f"'{(faulty or '')[:40]}' is no pair of a token and a tag, token:tag")
            )
        elif not is_faulty:
            yield _Tagged(number, 0, [token for token, _, _ in pairs], [tag for _, _, tag in pairs])


def _sentences(file: Path, tagged: Sequence[_Tagged], problems: list[Problem]) -> list[Sentence]:
    """Return the sentences without a fault, their tags read by the scheme of the whole file."""
    counts = Counter(tag for sentence in tagged for tag in sentence.tags if tag != "O")
    bare = {tag for tag in counts if not _PREFIXED.match(tag)}
    is_prefixed = 2 * sum(counts[tag] for tag in bare) <= counts.total()
    begins_with_b = is_prefixed and _begins_with_b(tagged)
    found = []
    for sentence in tagged:
        tags = sentence.tags
        broken = [i for i in range(1, len(tags)) if _breaks(tags[i - 1], tags[i])] if begins_with_b else []
        if is_prefixed and not bare.isdisjoint(tags):
            problems.extend(_tag_problem(file, sentence, i) for i, tag in enumerate(tags) if tag in bare)
        elif broken and not sentence.is_faulty:
            problems.extend(_break_problem(file, sentence, i) for i in broken)
        elif not sentence.is_faulty:
            found.append(Sentence(tuple(sentence.tokens), _entities(sentence, is_prefixed), sentence.line))
    if not found:
        problems.append(Problem(file, None, "has no sentence that can be read" if tagged else "has no sentences"))
    return found


def _begins_with_b(tagged: Sequence[_Tagged]) -> bool:
    """Return whether entities begin with B- (BIO, BIOES, BILOU); in IOB1 B- only parts neighbors of one type."""
    pairs = [(before, tag) for s in tagged for before, tag in zip(["O", *s.tags], s.tags, strict=False)]
    begun = sum(tag[:2] in ("B-", "S-", "U-") and before[2:] != tag[2:] for before, tag in pairs)
    return begun > sum(before == "O" and tag[:2] in ("I-", "E-", "L-") for before, tag in pairs)


def _breaks(before: str, tag: str) -> bool:
    """Return whether a tag goes on with an entity of another type than the one that was begun."""
    return before.startswith(("B-", "I-")) and tag.startswith(("I-", "E-", "L-")) and before[2:] != tag[2:]


def _break_problem(file: Path, sentence: _Tagged, index: int) -> Problem:
    before, tag = sentence.tags[index - 1], sentence.tags[index]
    message = f"the tag '{tag[:40]}' stands behind '{before[:40]}', but goes on with an entity of another type"
    return Problem(file, sentence.line + index * sentence.step, message, row=sentence.name)


def _entities(sentence: _Tagged, is_prefixed: bool) -> tuple[Entity, ...]:
    tags, words = sentence.tags, sentence.tokens
    if tags.count("O") == len(tags):
        return ()
    if not is_prefixed:
        tags = [tag if tag == "O" else f"I-{tag}" for tag in tags]
    return tuple(Entity(kind, " ".join(words[start:end])) for kind, start, end in spans(tags))


def _tag_problem(file: Path, sentence: _Tagged, index: int) -> Problem:
    message = f"the tag '{sentence.tags[index][:40]}' is neither O nor one of B- I- E- S- L- U- and a type"
    return Problem(file, sentence.line + index * sentence.step, message, row=sentence.name)


def bio_tags(tokens: Sequence[str], entities: Iterable[Entity]) -> list[str]:
    """Return BIO tags of entities that stand in this order in the sentence; raises ValueError for words not in it."""
    tags = ["O"] * len(tokens)
    start = 0
    for entity in entities:
        words = entity.words.split()
        places = range(start, len(tokens) - len(words) + 1)
        place = next((i for i in places if list(tokens[i : i + len(words)]) == words), None)
        if place is None:
            raise ValueError(f"{entity.words!r} does not follow in {' '.join(tokens)!r}")
        start = place + len(words)
        tags[place:start] = [f"B-{entity.type}", *[f"I-{entity.type}"] * (len(words) - 1)]
    return tags


def write_columns(file: Path, sentences: Iterable[tuple[Sequence[str], Sequence[str]]]) -> None:
    """Write sentences of tokens and tags in two columns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        for tokens, tags in sentences:
            stream.writelines(f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True))
            stream.write("\n")


def write_token_lines(file: Path, sentences: Iterable[tuple[Sequence[str], Sequence[str]]]) -> None:
    """Write sentences of tokens and tags as `token:tag` lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        for tokens, tags in sentences:
            pairs = " ".join(f"{token}:{tag}" for token, tag in zip(tokens, tags, strict=True))
            stream.write(f"{pairs} {END_OF_TOKENS} <NULL>\n")
