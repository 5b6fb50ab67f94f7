"""Progress of a run and the time it will take: a bar on a terminal, one plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cmt_cli.terminal.text import in_line, paragraph

_LINE_SECONDS = 5.0


@dataclass(slots=True)
class _Stretch:
    """One description's way from where it started (a resumed fit starts in the middle) to its total."""

    description: str
    first: int
    started: float

    def remaining(self, done: int, total: int) -> str:
        """Return the time left at the mean pace so far, as text; empty before anything is done."""
        advanced = done - self.first
        if advanced <= 0 or done >= total:
            return ""
        return f"{duration((time.monotonic() - self.started) / advanced * (total - done))} left"


class ProgressDisplay:
    """Call it with a description, how much is done and the total; a total of 0 means that the end is not known."""

    def __init__(self, console: Console) -> None:
        """Show progress on `console`; the bar appears with the first call."""
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stretch: _Stretch | None = None
        self._printed_at = time.monotonic() - _LINE_SECONDS

    def __call__(self, description: str, done: int, total: int) -> None:
        """Show that `done` of `total` units of what `description` names are done."""
        description = in_line(description)
        if self._stretch is None or self._stretch.description != description:
            self._stretch = _Stretch(description, done, time.monotonic())
        left = self._stretch.remaining(done, total)
        if self._console.is_terminal:
            self._show_bar(description, done, total, left)
        elif time.monotonic() - self._printed_at >= _LINE_SECONDS:
            self._printed_at = time.monotonic()
            count = f" {done}/{total}" if total else ""
            paragraph(self._console, "", f"{description}{count}{', ' + left if left else ''}")

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show_bar(self, description: str, done: int, total: int, left: str) -> None:
        if self._bar is None or self._task is None:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}", markup=False),
            )
            self._bar = Progress(*columns, console=self._console, transient=True, expand=True)
            self._task = self._bar.add_task(description, total=None, left="")
            self._bar.start()
        if self._bar.tasks[0].description != description:
            self._bar.remove_task(self._task)  # its total would stay where the next has none
            self._task = self._bar.add_task(description, total=None, left="")
        self._bar.update(self._task, description=description, completed=done, total=total or None, left=left)


def duration(seconds: float) -> str:
    """Return a duration as people say it: `8 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
