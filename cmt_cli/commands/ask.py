"""`cmt ask`: a question to an adapted run, answered from its last saved state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cmt_cli.commands.options import Debug, RunName, Trust
from cmt_cli.core.exceptions import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from cmt_cli.core.stream import Answer, Stream

_SHOWN_WORDS = 14
Fields = Annotated[
    list[str] | None, typer.Option(metavar="NAME=TEXT", help="A field of the run's prompts, where they have several.")
]


def ask(
    run: RunName,
    question: Annotated[str, typer.Argument(help="A question in plain words.")] = "",
    field: Fields = None,
    task: Annotated[str | None, typer.Option(help="The task that the question is of, where that matters.")] = None,
    trust: Trust = None,
    debug: Debug = False,
) -> None:
    """Answer a question from an adapted run, with the documents that it used and their weights."""
    from cmt_cli.commands import run_folders
    from cmt_cli.running import job
    from cmt_cli.running.answering import AdaptedModel, Template
    from cmt_cli.terminal.console import open_console
    from cmt_cli.terminal.text import paragraph

    fields = dict(_named(text) for text in field or ())
    folder = run_folders.find(run)
    loaded = job.load(folder, tuple(trust or ()))
    Template.of(loaded).prompt(question, fields, task)  # what is wrong with the question is said before anything loads
    model = AdaptedModel.of(loaded, folder)
    answer = model.answer(question, fields=fields, task=task)
    console = open_console()
    paragraph(console, "", answer.text or "(empty answer)", style="bold")
    if answer.documents:
        console.print(_documents_table(answer, model.stream))
    else:
        text = "This method reports no documents: what it knows is in its weights."
        paragraph(console, "", text, style="dim")


def _named(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark:
        raise UserError(f"--field {text}: write NAME=TEXT.")
    return name.strip(), value


def _documents_table(answer: Answer, stream: Stream) -> Table:
    from rich.table import Table

    from cmt_cli.terminal.console import line

    known = {document.id: document for task in stream.tasks for document in task.documents}
    table = Table("weight", "document", "date", "begins", box=None, pad_edge=False, header_style="bold")
    for name, weight in answer.documents:
        document = known.get(name)
        words = document.text.split() if document else []
        begin = " ".join(words[:_SHOWN_WORDS]) + (" ..." if len(words) > _SHOWN_WORDS else "")
        date = (document.date if document else None) or ""
        table.add_row(f"{weight:.3f}", line(name), line(date), line(begin))
    return table
