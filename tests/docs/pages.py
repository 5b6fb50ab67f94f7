"""The pages of the repository as tests read them: their links, and the commands in their code blocks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("templates/*.md"), *ROOT.glob(".github/*.md")]
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"(?: {4}|\t)(.*)")


def name_of(page: Path) -> str:
    """Return a page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def links(page: Path) -> Iterator[str]:
    """Yield the targets of a page's links to files, without anchors."""
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if not target.startswith(("http", "#")):
            yield target.partition("#")[0]


def code_lines(page: Path) -> Iterator[str]:
    """Yield the lines of a page's code blocks, continued lines joined, without what commands print."""
    fenced, printed, kept = False, False, ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            fenced, printed = not fenced, line == "```console"
            continue
        if printed:
            continue
        match = _CODE.match(line)
        if fenced or match:
            kept += line.strip() if fenced or match is None else match[1].strip()
            if kept.endswith("\\"):
                kept = kept[:-1]
                continue
            yield kept
            kept = ""


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the arguments of every `cmt ...` command in a page's code blocks; a line may hold several."""
    for line in code_lines(page):
        if not re.match(r"(srun .*)?cmt [a-z]", line):
            continue
        words = shlex.split(line, comments=True)
        words = words[words.index("cmt") :]
        if "..." in words:
            continue
        while words:
            end = next((place for place, word in enumerate(words) if word in (";", "&&", ">")), len(words))
            yield [word.rstrip(";") for word in words[1:end]]
            words = words[end:]
            words = words[words.index("cmt") :] if "cmt" in words else []
