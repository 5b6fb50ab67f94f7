"""`cmt ask`: a question to an adapted run, answered from its last saved state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cmt_cli.config import targets
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Answer, Prompt, Stream
from cmt_cli.running import job

if TYPE_CHECKING:
    from cmt_cli.core.method import Method

_SHOWN_WORDS = 14


def ask(folder: Path, question: str, trusted: Sequence[str]) -> None:
    """Print the answer, and the documents that it used with their weights, best first."""
    current = job.load(folder, trusted)
    stream = current.stream()
    answer = answer_from(current, stream, folder, question)
    console = Console(highlight=False)
    console.print(f"[bold]{escape(answer.text) or '(empty answer)'}[/]")
    if answer.documents:
        console.print(_documents_table(answer, stream))
    else:
        console.print("This method reports no documents: what it knows is in its weights.", style="dim")


def answer_from(current: job.Job, stream: Stream, folder: Path, question: str) -> Answer:
    """Rebuild the run's learner and method as they were saved last, and answer; UserError where nothing is saved."""
    from cmt_cli.running.restore import restore
    from cmt_cli.running.store import RunStore

    store = RunStore(folder, current.identity, current.saved)
    if store.load_state() is None:
        raise UserError(f"{folder} holds no saved state yet, it was stopped too early: cmt resume {folder}")
    method: Method = current.build("method")
    learner = current.build("model")
    prompt = Prompt("asked", _template(current).format(question=question))
    with store:  # loading rewinds the method's own files to the saved state, which a running run must not suffer
        learned = restore(learner, method, episodes=stream.episodes, store=store)
        assert learned is not None, "a state was there a moment ago, and the folder is locked"
        decoding = targets.instantiate(current.config["evaluator"]["decoding"], current.trusted)
        return method.predictor(learner, learned).generate([prompt], decoding)[0]


def _template(current: job.Job) -> str:
    return str(current.config["data"].get("prompt_template", "{question}"))


def _documents_table(answer: Answer, stream: Stream) -> Table:
    known = {document.id: document for task in stream.tasks for document in task.documents}
    table = Table("weight", "document", "date", "begins", box=None, pad_edge=False, header_style="bold")
    for name, weight in answer.documents:
        document = known.get(name)
        words = document.text.split() if document else []
        begin = " ".join(words[:_SHOWN_WORDS]) + (" ..." if len(words) > _SHOWN_WORDS else "")
        table.add_row(f"{weight:.3f}", escape(name), (document.date if document else None) or "", escape(begin))
    return table
