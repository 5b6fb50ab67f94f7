r"""Named entities as text: the answer that a model is trained to give, how an answer is read, and spans of tags.

    person: Ada Lovelace; city: Turin; work: Faust\; a tragedy          none

Entities come in the order of the sentence, each as its type, a colon and its words; `;` `:` and `\` inside a type, `;`
and `\` inside the words, are escaped by a backslash. `none` alone says that there is no entity. White space is one
space. The reader takes what a model may say: line ends between entities, no space after the colon, any case of `none`,
pieces without a type or without words (counted, no entity). Types are compared in lower case, words as they are.

BIO tags become entities by the rules of conlleval, which hold for IOB1, IOB2, BIOES and BILOU at once: an entity begins
at B, S or U, and at any other tag of a type that does not go on from the tag before; it ends before a new one and at E,
L, S and U.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cmt_cli.core.exceptions import UserError, counted

NO_ENTITY = "none"
_PIECE = re.compile(r"((?:\\[^\n]|[^;\n])*)(?:[;\n]|\Z)")  # a backslash takes the next character along
_TYPE = re.compile(r"((?:\\.|[^:\\])*):(.*)")
_BEGINS, _ENDS = frozenset("BSU"), frozenset("ESLU")


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity of a sentence: its type and its words."""

    type: str
    words: str


def entity_answer(entities: Sequence[Entity]) -> str:
    """Return the answer that names these entities; raise UserError for one without a type or without words."""
    pieces = []
    for entity in entities:
        kind, words = _spaced(entity.type), _spaced(entity.words)
        if not kind or not words:
            raise UserError(f"An entity needs a type and words, but there is {entity.type!r} with {entity.words!r}.")
        pieces.append(f"{_escaped(kind, ';:')}: {_escaped(words, ';')}")
    return "; ".join(pieces) or NO_ENTITY


def read_entities(answer: str) -> tuple[list[Entity], int]:
    """Return the entities that an answer names, types in lower case, and the number of pieces that are none."""
    entities, malformed = [], 0
    for piece in (match[1].strip() for match in _PIECE.finditer(answer)):
        if not piece or piece.casefold() == NO_ENTITY:
            continue
        match = _TYPE.fullmatch(piece)
        entity = Entity(type_name(_plain(match[1])), _spaced(_plain(match[2]))) if match else Entity("", "")
        if entity.type and entity.words:
            entities.append(entity)
        else:
            malformed += 1
    return entities, malformed


def type_name(name: str) -> str:
    """Return the form in which types are compared."""
    return _spaced(name).casefold()


def tagged_entities(tokens: Sequence[str], tags: Sequence[str]) -> list[Entity]:
    """Return the entities of a tagged sentence, in its order, their tokens joined by spaces."""
    if len(tokens) != len(tags):
        raise UserError(
            f"A sentence has {counted(len(tokens), 'token')} but {counted(len(tags), 'tag')}: {' '.join(tokens[:8])} "
            "..."
        )
    return [Entity(kind, " ".join(tokens[start:end])) for kind, start, end in spans(tags)]


def spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return (type, first token, token after the last) of each entity; raise UserError for what is no such tag."""
    found: list[tuple[str, int, int]] = []
    is_open, last_kind = False, ""
    for i, (prefix, kind) in enumerate(map(_split_tag, tags)):
        goes_on = is_open and prefix not in _BEGINS and kind == last_kind
        if goes_on:
            found[-1] = (kind, found[-1][1], i + 1)
        elif prefix != "O":
            found.append((kind, i, i + 1))
        is_open, last_kind = prefix != "O" and prefix not in _ENDS, kind
    return found


def _split_tag(tag: str) -> tuple[str, str]:
    prefix, _, kind = tag.partition("-")
    if tag != "O" and (prefix not in {"B", "I", "E", "L", "S", "U"} or not kind):
        raise UserError(f"{tag!r} is no tag: use O, or one of B- I- E- L- S- U- and a type, as in B-person.")
    return prefix, kind


def _escaped(text: str, marks: str) -> str:
    return re.sub(rf"([{marks}\\])", r"\\\1", text)


def _plain(text: str) -> str:
    return re.sub(r"\\([;:\\])", r"\1", text)


def _spaced(text: str) -> str:
    return " ".join(text.split())
