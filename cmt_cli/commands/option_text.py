"""What the yaml of an option says to a person: description, settings with their comments, parts that it takes in.

Read as plain text, like the header facts of `config.catalog`, so that `cmt list` needs no yaml parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cmt_cli.config.catalog import SIZES, Option, conf_dir

_FACT = re.compile(r"#\s*([a-z_]+):\s*(.*)")
_TARGET = re.compile(r"\s*_target_:\s*([\w.?]+)")
_TAKEN_IN = re.compile(r"\s*-\s*([\w/]+)@_here_")
_CHOICE = re.compile(r"\s*-\s*(?:override\s+)?/?([\w/]+)(?:@([\w.]+))?:\s*(\S+)")
_COMMENT = re.compile(r"(?:^|\s+)#\s?(.*)$")
_SENTENCE_END = re.compile(r"[.!?](?=\s+[A-Z(])")
_CLAUSE_END = re.compile(r"[;:,](?= )| (?=\()")
_SIZE = "${size}"
_LEAST_SHARE = 0.4  # of the width that a text cut at the end of a clause must fill


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of a yaml: `text` is the indented key and value, `comment` what is said of it; either may be empty."""

    text: str
    comment: str


def description(option: Option) -> str:
    """Return the header's `about` and what else is written there beside the facts, as one text."""
    pieces: list[str] = []
    fact = ""
    for line in _header(option.path):
        match = _FACT.match(line)
        if match:
            fact = match[1]
        is_fact = match is not None or (bool(fact) and line.startswith("#   "))
        text = match[2] if match else line.lstrip("# ")
        if fact == "about" and is_fact:
            pieces.append(text if line.rstrip().endswith((".", ";", ",", ":")) else f"{text}.")
        elif not is_fact and not line.startswith("# @package"):
            pieces.append(text)
    return " ".join(" ".join(pieces).split())


def first_sentence(text: str) -> str:
    """Return a text up to the end of its first sentence, without the full stop."""
    end = _SENTENCE_END.search(text)
    return (text[: end.start()] if end else text).removesuffix(".")


def shortened(text: str, width: int) -> str:
    """Return a text of at most `width` characters, cut at the end of a clause, else of a word and with an ellipsis."""
    if len(text) <= width:
        return text
    ends = [match.start() for match in _CLAUSE_END.finditer(text[: width + 2]) if match.start() <= width]
    fitting = [e for e in ends if e >= _LEAST_SHARE * width and text[:e].count("(") == text[:e].count(")")]
    strong = [end for end in fitting if text[end] != ","]  # a comma may stand inside an enumeration
    if fitting:
        return text[: (strong or fitting)[-1]]
    return text[: text.rfind(" ", 0, width)].rstrip(" ,;:(") + "…"


def target(path: Path) -> str:
    """Return the dotted name that a yaml, or the first part that it takes in, builds; empty where none says it."""
    for file in (path, *taken_in(path)):
        for line in file.read_text(encoding="utf-8").splitlines():
            match = _TARGET.match(line)
            if match and not line.startswith(" ") and match[1] != "???":
                return match[1]
    return ""


def taken_in(path: Path) -> Iterator[Path]:
    """Yield the files that a yaml takes in with `- NAME@_here_`, from its folder or this package's of that name."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := _TAKEN_IN.match(line):
            group = path.parent.name if not path.parent.name.startswith("_") else path.parent.parent.name
            candidates = (folder / f"{match[1]}.yaml" for folder in (path.parent, conf_dir() / group))
            for file in candidates:
                if file.is_file():
                    yield file
                    yield from taken_in(file)
                    break


def settings(path: Path) -> list[Setting]:
    """Return the lines of a yaml's body with their comments, without `defaults` and targets."""
    found: list[Setting] = []
    in_defaults = False
    for line in _body(path):
        if line and not line.startswith((" ", "#", "-")):
            in_defaults = line.startswith("defaults:")
        if line.strip() and not in_defaults and not _TARGET.match(line):
            found.append(_split(line))
    return found


def choices(option: Option) -> list[tuple[str, str, str]]:
    """Return for each choice in a yaml's defaults the override that changes it, its value and its group."""
    found: dict[str, tuple[str, str, str]] = {}
    for line in _body(option.path):
        match = _CHOICE.match(line)
        if match and match[3] != "null" and match[2] != "_here_":
            group, package, value = match.groups()
            place = _place(option, package) if package else group
            key = group if place == group else f"{group}@{place}"
            found[key] = key, by_size(option, group, value), group
    return list(found.values())


def _place(option: Option, package: str) -> str:
    """Return where a part is put; a package is inside the option's own group unless it says otherwise."""
    return package.removeprefix("_global_.") if package.startswith("_global_.") else f"{option.group}.{package}"


def by_size(option: Option, group: str, value: str) -> str:
    """Return what a choice by `${size}` stands for, e.g. `full (embedded), lora (small, large)`; others as they are."""
    if _SIZE not in value:
        return value
    sizes: dict[str, list[str]] = {}
    for size in SIZES:
        name = f"{value.replace(_SIZE, size)}.yaml"
        file = next(folder for folder in (option.path.parents[1], conf_dir()) if (folder / group / name).is_file())
        stem = next((path.stem for path in taken_in(file / group / name)), name.removesuffix(".yaml"))
        sizes.setdefault(stem, []).append(size)
    return ", ".join(f"{stem} ({', '.join(names)})" for stem, names in sizes.items())


def _split(line: str) -> Setting:
    """Separate a line's comment; a number sign inside quotes is no comment."""
    for match in re.finditer(r"(?:^|\s)#", line):
        head = line[: match.start()]
        if head.count('"') % 2 == 0 and head.count("'") % 2 == 0:
            comment = _COMMENT.match(line[match.start() :])
            return Setting(head.rstrip(), comment[1] if comment else "")
    return Setting(line.rstrip(), "")


def _header(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[: _header_length(lines)]


def _body(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[_header_length(lines) :]


def _header_length(lines: list[str]) -> int:
    return next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
