"""CITB: two long streams of Super-NaturalInstructions tasks, mostly dialogue (Zhang et al. 2023, arXiv 2310.14510).

InstrDialog has 19 tasks of dialogue, InstrDialog++ those and 19 others; each in three published orders, which are lists
of task numbers in the configuration (as in hyintell/CITB, folder data/CIT_data/task_orders). Layout, licence and
chance are those of `superni`, whose files it reads. The authors tune on 100 other tasks first and use 500 training
rows of each task (`limits.max_train`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.stream import Stream
from cmt_cli.data.instructions import superni
from cmt_cli.data.instructions.superni import Shots
from cmt_cli.data.instructions.world_instructions import Instructions
from cmt_cli.data.labelled.held_out import HeldOut
from cmt_cli.data.labelled.items import SplitPolicy
from cmt_cli.data.labelled.labelled_files import clean_corpus, files_at
from cmt_cli.data.labelled.labelled_stream import Format, Limits

LAYOUT = replace(superni.LAYOUT, hub=None)  # the hub has neither its tasks nor the examples that it shows


def citb(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    on_bad_row: str,
    stream: str,
    orders: Mapping[str, Sequence[int]],
    missing_tasks: str,
    shots: Shots,
    held_out: HeldOut,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Instructions,
) -> Stream:
    """Return one of `orders`, named by `stream`."""
    order = orders[one_of(stream, tuple(orders), "data.stream")]
    files = files_at(path, default_path, source, auto_may_generate, cache, on_bad_row)
    layout = replace(superni.numbered_layout("citb", order, shots, held_out), hub=None)
    corpus = clean_corpus(layout, files, generated, split_policy, format)
    return superni.numbered_stream(corpus, order, missing_tasks, limits, format)
