"""Named entities of the generated world, class-incremental: each task brings two or three types, old ones read as none.

    she owns a gecko and was born in Norvale .
    Entities: pet: gecko                          in the task that brings pet and dish

Generated data, our own text. Chance is about 0: no entity is found by guessing.
"""

from __future__ import annotations

from collections.abc import Sequence

from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.core.stream import Stream
from cmt_cli.data.entities.entity_stream import type_stream
from cmt_cli.data.labelled.items import SplitPolicy, check_order
from cmt_cli.data.labelled.labelled_files import Generator, generated_corpus
from cmt_cli.data.labelled.labelled_stream import Format, Limits
from cmt_cli.data.world.entities import THEMES


def world_ner(
    *,
    order: Sequence[str],
    sentences_once: bool,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Generator,
) -> Stream:
    """Return a task for the types of each theme of `order`.

    With `sentences_once` a training sentence is in one task, otherwise in every task whose types it has.
    """
    for theme in order:
        if theme not in THEMES:
            raise UserError(f"data.order names '{theme}'; the themes are {', '.join(THEMES)}.{nearest(theme, THEMES)}")
    check_order(order, "theme")
    corpus, provenance = generated_corpus("world_ner", generated, split_policy)
    groups = [THEMES[theme] for theme in order]
    return type_stream(corpus, provenance, groups=groups, once=sentences_once, limits=limits, format=format)
