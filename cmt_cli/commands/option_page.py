"""All about one entry of `cmt list`: what its yaml says, what it goes with, its settings and a command to try."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from cmt_cli.commands import option_text
from cmt_cli.commands.option_text import Setting
from cmt_cli.config import catalog
from cmt_cli.config.catalog import Option
from cmt_cli.terminal.console import line as one_line
from cmt_cli.terminal.text import paragraph

_COMMENT_COLUMN = 30  # where the comments of settings begin
_BY_SIZE = "${by_size:"
_MOST_NAMES = 10  # of a group, which has a list of its own where there are more
_FIRST_STREAM, _FIRST_METHODS = "streamingqa", ("cmt", "replay", "finetune")  # of the commands to try


def show(option: Option, heading: str, dirs: Sequence[Path], console: Console) -> None:
    """Print everything about an option; `heading` is its family or scenario."""
    console.print(one_line(option.name, "bold") + one_line(f" ({heading})" if heading else ""), soft_wrap=True)
    paragraph(console, "", option_text.description(option))
    facts = {key: value for key, value in option.facts.items() if key not in ("about", "family")}
    lines = [*facts.items(), *_partners(option, dirs), *_parts(option, dirs)]
    if lines:
        console.print()
    for key, value in lines:
        paragraph(console, f"  {key:8}", value)
    for file, settings in _settings(option):
        console.print(f"\n{_title(option, file)}", markup=False, soft_wrap=True)
        _print_settings(settings, console)
    console.print()
    if any(_BY_SIZE in line.text for _, lines in _settings(option) for line in lines):
        classes = f"{', '.join(catalog.SIZES[:-1])} or {catalog.SIZES[-1]}"
        paragraph(console, f"{_BY_SIZE}A,B,C}}: ", f"one of the three by the base model's size, {classes}.")
    paragraph(console, "Try: ", example(option, dirs))


def _partners(option: Option, dirs: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Yield which streams a method fits, or which methods do not fit a stream."""
    if option.group == "method":
        streams = catalog.options("data", dirs)
        fitting = [stream.name for stream in streams if catalog.incompatibility(option, stream) is None]
        shown = "all" if len(fitting) == len(streams) else ", ".join(fitting) or "none here"
        yield "streams", f"{shown} ({len(fitting)} of {len(streams)})"
    if option.group == "data":
        methods = catalog.options("method", dirs)
        left_out = [method for method in methods if catalog.incompatibility(method, option) is not None]
        names = ", ".join(method.name for method in left_out)
        yield "methods", f"all but {names} ({len(left_out)} of {len(methods)})" if names else "all"


def _parts(option: Option, dirs: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Yield the choices that an option makes in other groups, with what else there is."""
    for key, value, group in option_text.choices(option):
        names = [other.name for other in catalog.options(group, dirs)]
        others = f", one of {', '.join(names)}" if len(names) <= _MOST_NAMES else ""
        yield "part", f"{key}={value}{others}"


def _settings(option: Option) -> Iterator[tuple[Path, list[Setting]]]:
    """Yield an option's own settings, then those of the files that it takes in."""
    for file in (option.path, *option_text.taken_in(option.path)):
        lines = option_text.settings(file)
        if lines:
            yield file, lines


def _title(option: Option, file: Path) -> str:
    key = "KEY=VALUE" if option.group == "experiment" else f"{option.group}.KEY=VALUE"
    return f"Settings, {key}:" if file == option.path else f"Settings that it shares with others ({file.stem}):"


def _print_settings(lines: Sequence[Setting], console: Console) -> None:
    longest = max((len(line.text) for line in lines if line.comment), default=0)
    column = min(longest + 4, _COMMENT_COLUMN)
    for line in lines:
        text = f"  {line.text}"
        own = "  " + line.text[: len(line.text) - len(line.text.lstrip())] + "    "
        for shown in textwrap.wrap(text, console.width, subsequent_indent=own, break_on_hyphens=False)[:-1]:
            console.print(shown, markup=False, soft_wrap=True)
            text = own + text[len(shown) :].strip()
        if not line.comment:
            console.print(text, markup=False, soft_wrap=True)
            continue
        if len(text) >= column and len(text) + 2 + len(line.comment) > console.width:
            console.print(text, markup=False, soft_wrap=True)
            text = ""
        start = max(column, len(text) + 2) if text else column
        parts = textwrap.wrap(line.comment, max(20, console.width - start), break_long_words=False)
        for part in parts:
            console.print(one_line(f"{text:{start}}") + one_line(part, "dim"), soft_wrap=True)
            text = ""


def example(option: Option, dirs: Sequence[Path]) -> str:
    """Return a command that uses the option; `...` stands for what only the user knows."""
    words = ["cmt run"]
    if option.group == "method":
        words += [f"method={option.name}", f"data={_first_stream(option, dirs)}"]
    elif option.group == "data":
        words += [f"method={_first_method(option, dirs)}", f"data={option.name}"]
    else:
        words += [f"{option.group}={option.name}"]
    lines = option_text.settings(option.path)
    words += [f"{option.group}.{line.text.partition(':')[0]}=..." for line in lines if line.text.endswith(": ???")]
    words += [f"--config-dir {shlex.quote(str(folder))}" for folder in dirs[1:]]
    return " ".join(words)


def _first_stream(method: Option, dirs: Sequence[Path]) -> str:
    names = [s.name for s in catalog.options("data", dirs) if catalog.incompatibility(method, s) is None]
    return _FIRST_STREAM if _FIRST_STREAM in names or not names else names[0]


def _first_method(stream: Option, dirs: Sequence[Path]) -> str:
    names = [m.name for m in catalog.options("method", dirs) if catalog.incompatibility(m, stream) is None]
    return next((name for name in (*_FIRST_METHODS, *names) if name in names), _FIRST_METHODS[-1])
