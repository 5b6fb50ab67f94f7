"""The one kind of `rich` console: it takes text as it stands, and shows control characters instead of obeying them.

Names of runs, answers and messages hold brackets and colons that are no markup and no emoji.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, HighlighterType, JustifyMethod, OverflowMethod, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from typing_extensions import override

from cmt_cli.terminal.text import in_line, visible


def open_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return a console on standard output or standard error."""
    return _VisibleConsole(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)


def line(text: str, style: str = "") -> Text:
    """Return a text of one line, its control characters spelled before `rich` drops some of them."""
    return Text(in_line(text), style=style)


class _VisibleConsole(Console):
    """Spells control characters before the layout where it meets a string, and behind it in everything else."""

    @override
    def render_str(
        self,
        text: str,
        *,
        style: str | Style = "",
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        emoji: bool | None = None,
        markup: bool | None = None,
        highlight: bool | None = None,
        highlighter: HighlighterType | None = None,
    ) -> Text:
        return super().render_str(
            visible(text),
            style=style,
            justify=justify,
            overflow=overflow,
            emoji=emoji,
            markup=markup,
            highlight=highlight,
            highlighter=highlighter,
        )

    @override
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for part in super().render(renderable, options):
            yield part if part.control else Segment(visible(part.text), part.style)
