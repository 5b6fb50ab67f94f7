"""Reads a stream of documents and questions from its files, or from the stand-in, and divides it into tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cmt_cli.core.stream import Stream
from cmt_cli.data.files.origin import Layout, Origin, load
from cmt_cli.data.knowledge.knowledge_stream import QuestionFormat, Selection, knowledge_stream
from cmt_cli.data.knowledge.qa_corpus import QACorpus
from cmt_cli.data.world.stand_in import StandIn
from cmt_cli.data.world.world import Article

QALayout = Layout[QACorpus, Mapping[str, Sequence[Article]]]


def qa_stream(
    layout: QALayout,
    chosen: Origin,
    *,
    generated: StandIn,
    selection: Selection,
    num_tasks: int,
    questions: QuestionFormat,
) -> Stream:
    """Return the stream of the chosen files, or of the stand-in that is generated in their place."""
    corpus, provenance = load(layout, chosen, generated.write)
    if layout.shares is not None:
        provenance = provenance.noted(corpus.division_note(layout.shares))
        corpus = corpus.divided(layout.shares)
    provenance = provenance.noted(*corpus.notes)
    if provenance.source == "generated":  # its files cap the questions of the test split only
        selection = selection.asking_at_most(generated.max_test_questions_per_document)
    return knowledge_stream(corpus, selection, num_tasks=num_tasks, questions=questions, provenance=provenance)
