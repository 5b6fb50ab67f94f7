"""`cmt data check` and `cmt data prepare`: a stream's files, looked at with the reader that a run uses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID

from cmt_cli.config import catalog, compose, targets
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.files.origin import Layout, is_present
from cmt_cli.data.files.reading import ProblemError


def settings_of(name: str, path: Path | None = None) -> dict[str, Any]:
    """Return a stream's resolved settings for real files, at `path` where one is given; UserError for unknown names.

    All documents are one batch, since the number of batches is a choice of a run, not a property of files.
    """
    dirs = [catalog.conf_dir()]
    catalog.find("data", name, dirs)
    composed = compose.compose([f"data={name}"], dirs)
    settings = _plain(composed.data)
    given = {"source": "real", "num_tasks": 1} | ({} if path is None else {"path": str(path)})
    return {**settings, **{key: value for key, value in given.items() if key in settings}}


def _plain(node: Any) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(node, resolve=True)
    return dict(plain)


def layout_of(settings: dict[str, Any]) -> Layout[Any, Any] | None:
    """Return the file layout that the stream's module declares as LAYOUT; None for a stream without files."""
    build = targets.resolve(settings[targets.TARGET], ())
    return getattr(sys.modules[build.__module__], "LAYOUT", None)


def check(name: str, path: Path | None) -> None:
    """Build the stream from its files and print what is in them; raise UserError with every problem otherwise."""
    settings = settings_of(name, path)
    targets.check_arguments(settings, ())
    if layout_of(settings) is None and path is not None:
        raise UserError(f"data={name} is generated and reads no files; leave --path {path} out.")
    console = Console(highlight=False, soft_wrap=True)
    try:
        stream: Stream = targets.instantiate(settings)
    except ProblemError as error:
        for problem in error.problems:
            console.print(escape(str(problem)))
        raise UserError(f"{len(error.problems)} problems in the files of {name} at {settings['path']}.") from error
    where = f" at {escape(settings['path'])}" if "path" in settings else ""
    console.print(f"{name}{where}: no problems.")
    console.print(f"  {description(stream)}")
    for file, digest in sorted(stream.provenance.files.items()):
        console.print(f"  sha256 {digest}  {escape(file)}")


def description(stream: Stream) -> str:
    """Return a line of counts: documents or training examples, questions, episodes where there are any."""
    documents = sum(len(task.documents) for task in stream.tasks)
    examples = sum(len(task.train) for task in stream.tasks)
    questions = sum(len(test.examples) for test in stream.tests)
    learned = f"{documents} documents" if documents else f"{examples} training examples"
    episodes = f", {len(stream.episodes.train)} meta-training episodes" if stream.episodes.train else ""
    return f"{learned}, {questions} test questions{episodes}"


def prepare(name: str) -> None:
    """Make the stream's files out of what is reachable, then check them; otherwise say how to get them."""
    settings = settings_of(name)
    layout = layout_of(settings)
    if layout is None:  # generated as it is needed
        check(name, None)
        return
    path = Path(settings["path"]).expanduser()
    if layout.fetch is not None:
        with Progress() as bars:
            bar = bars.add_task(name)
            made = layout.fetch(path, lambda what, done, total: _advance(bars, bar, what, done, total))
        if made:
            check(name, None)
            return
    if is_present(path):
        check(name, None)
        return
    raise UserError(f"The files of {name} cannot be fetched from here. {_how(layout, path)}")


def _advance(bars: Progress, bar: TaskID, what: str, done: int, total: int) -> None:
    bars.update(bar, description=what, completed=done, total=total or None)


def _how(layout: Layout[Any, Any], path: Path) -> str:
    return layout.how_to_get.replace("{path}", str(path))


def found() -> dict[str, str]:
    """Return for each stream whether its real files are here, and how to get them otherwise."""
    lines = {}
    for option in catalog.options("data", [catalog.conf_dir()]):
        settings = settings_of(option.name)
        layout = layout_of(settings)
        lines[option.name] = _found(layout, Path(settings["path"]).expanduser()) if layout else "generated, no files"
    return lines


def _found(layout: Layout[Any, Any], path: Path) -> str:
    return f"found at {path}" if is_present(path) else f"missing. {_how(layout, path)}"
