"""A stream's files, read by the reader that a run uses: checked, fetched, described."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from cmt_cli.config import catalog, targets
from cmt_cli.config.check import Request, composed
from cmt_cli.config.check import settings_of as resolved
from cmt_cli.config.value_types import TARGET
from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.stream import Stream
from cmt_cli.data.files.fetched import FILE as RECORD
from cmt_cli.data.files.fetched import fetched_into
from cmt_cli.data.files.origin import Layout, fetched, is_present
from cmt_cli.data.files.problems import ProblemError
from cmt_cli.data.files.published import PUBLISHED
from cmt_cli.data.hub.hub_errors import HubError
from cmt_cli.terminal.console import open_console
from cmt_cli.terminal.progress import ProgressDisplay
from cmt_cli.terminal.text import paragraph

_MAX_FILES = 40  # whose sha256 is shown


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """The resolved settings of one stream, and the packages whose classes they may name."""

    name: str
    data: dict[str, Any]
    trusted: tuple[str, ...]


def settings_of(
    name: str, overrides: Sequence[str] = (), *, path: Path | None = None, config_dir: Path | None = None
) -> StreamSettings:
    """Return what `cmt run data=NAME` with these overrides would read, from real files unless they say otherwise.

    Raises UserError for names and keys that do not exist and for values that are missing.
    """
    catalog.find("data", name, catalog.search_dirs(config_dir))
    config = composed(Request((f"data={name}", *overrides), config_dir=config_dir))
    settings = resolved(config, config.hydra.runtime.choices)
    data = dict(settings.resolved["data"])
    if "source" in data and not any(line.startswith("data.source=") for line in overrides):
        data["source"] = "real"
    return StreamSettings(name, {**data, **({} if path is None else {"path": str(path)})}, settings.trusted)


def layout_of(settings: StreamSettings) -> Layout[Any, Any] | None:
    """Return the file layout that the stream's module declares as LAYOUT; None for a stream without files."""
    build = targets.resolve(settings.data[TARGET], settings.trusted)
    return getattr(sys.modules[build.__module__], "LAYOUT", None)


def check(settings: StreamSettings) -> None:
    """Build the stream from its files and print what is in them; raise UserError with every problem otherwise."""
    name, data = settings.name, settings.data
    targets.check_trust({"data": data}, settings.trusted)
    if "path" in data and layout_of(settings) is None and "source" not in data:
        raise UserError(f"data={name} is generated and reads no files; leave --path {data['path']} out.")
    targets.check_arguments({"data": data}, settings.trusted)
    targets.check_parts({"data": data}, settings.trusted)
    console = open_console()
    try:
        stream: Stream = targets.instantiate(data, settings.trusted)
    except ProblemError as error:
        for problem in error.problems:
            paragraph(console, "", str(problem))
        number = counted(len(error.problems), "problem")
        raise UserError(f"{number} in the files of {name} at {data.get('path', 'data.path')}.") from error
    where = f" at {data['path']}" if "path" in data else ""
    paragraph(console, "", f"{name}{where}: no problems.")
    paragraph(console, "  ", f"{counted(len(stream.tasks), 'task')}, {description(stream)}")
    if stream.provenance.note:
        paragraph(console, "  ", stream.provenance.note)
    files = sorted(stream.provenance.files.items())
    for file, digest in files[:_MAX_FILES]:
        paragraph(console, "  ", f"sha256 {digest}  {file}")
    if len(files) > _MAX_FILES:
        paragraph(console, "  ", f"and {len(files) - _MAX_FILES:,} more files, whose sha256 a run's result.json has")


def description(stream: Stream) -> str:
    """Return a line of counts: documents or training examples, questions, episodes where there are any."""
    documents = sum(len(task.documents) for task in stream.tasks)
    examples = sum(len(task.train) for task in stream.tasks)
    questions = sum(len(test.examples) for test in stream.tests)
    learned = counted(documents, "document") if documents else counted(examples, "training example")
    episodes = f", {counted(len(stream.episodes.train), 'meta-training episode')}" if stream.episodes.train else ""
    return f"{learned}, {counted(questions, 'test question')}{episodes}"


def prepare(name: str, revisions: Sequence[str] = ()) -> None:
    """Make the stream's files out of what is reachable, then check them; otherwise say how to get them.

    `revisions` are commits of data sets of the hub to take instead of their own: COMMIT or DATASET@COMMIT.
    """
    settings = settings_of(name)
    layout = layout_of(settings)
    if revisions and (layout is None or layout.hub is None):
        raise UserError(f"--revision {revisions[0]}: the files of {name} do not come from the hub. Leave it out.")
    if layout is None:  # generated as it is needed
        check(settings)
        return
    path = Path(settings.data["path"]).expanduser()
    console = open_console()
    bar = ProgressDisplay(console)
    try:
        is_new = _fetched(layout, path, bar, revisions)
    finally:
        bar.close()
    if not is_new and not is_present(path):
        raise UserError(f"The files of {name} cannot be fetched from here. {layout.steps(path, name)}")
    if layout.hub is not None:
        _tell_origin(console, layout, path)
        settings = settings_of(name, _settings_for(layout, path))
    check(settings)


def _fetched(layout: Layout[Any, Any], path: Path, bar: ProgressDisplay, revisions: Sequence[str]) -> bool:
    if layout.hub is None:
        return fetched(layout, path, bar)
    try:
        return layout.hub.fetch(path, bar, {dataset: commit for dataset, _, commit in map(_parts, revisions)})
    except HubError as error:
        raise UserError(f"{error} Without the hub: {layout.by_hand(path)}") from error


def _parts(revision: str) -> tuple[str, str, str]:
    dataset, at, commit = revision.rpartition("@")
    return dataset, at, commit


def _settings_for(layout: Layout[Any, Any], path: Path) -> tuple[str, ...]:
    """Return the overrides that what the hub has needs; none for files of the user's own."""
    return layout.hub.settings if layout.hub is not None and fetched_into(path).datasets else ()


def _tell_origin(console: Console, layout: Layout[Any, Any], path: Path) -> None:
    """Print the commits of the hub's data sets that a folder was made of, and what reads it."""
    noted = fetched_into(path)
    for dataset, commit in noted.datasets.items():
        paragraph(console, "", f"{dataset} of the hub at {commit}, noted in {path / RECORD}")
    published = PUBLISHED.get(layout.name, frozenset())
    if number := sum(digest in published for digest in noted.files.values()):
        files = counted(len(noted.files), "file")
        paragraph(console, "  ", f"{number} of {files} fetched are the published ones, byte by byte")
    if overrides := _settings_for(layout, path):
        paragraph(console, "  ", f"The hub has a part of the stream only; read it with {' '.join(overrides)}")


def found() -> dict[str, str]:
    """Return for each stream whether its real files are here, and how to get them otherwise."""
    lines = {}
    for option in catalog.options("data", [catalog.conf_dir()]):
        settings = settings_of(option.name)
        layout = layout_of(settings)
        lines[option.name] = (
            _found(option.name, layout, Path(settings.data["path"]).expanduser()) if layout else "generated, no files"
        )
    return lines


def _found(name: str, layout: Layout[Any, Any], path: Path) -> str:
    return f"found at {path}" if is_present(path) else f"missing. {layout.steps(path, name)}"
