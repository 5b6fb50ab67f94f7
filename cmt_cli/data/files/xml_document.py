"""An xml file read whole, whose elements know their line. Document types are refused, so no entity can be declared.

That leaves no way to expand entities without end or to fetch external ones; the five of xml itself are known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from cmt_cli.data.files.problems import Problem, end_file
from cmt_cli.data.files.reading import read_lines

MAX_DEPTH = 100


@dataclass(slots=True)
class Element:
    """An element: its name, attributes, the text directly inside it, its children and the line where it begins."""

    name: str
    attributes: dict[str, str]
    line: int
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, name: str) -> list[Element]:
        """Return the elements of a name below this one, in their order."""
        found = []
        for child in self.children:
            found += ([child] if child.name == name else []) + child.all(name)
        return found


class _Refused(Exception):
    """What the file holds is not read, however well-formed."""


def read_xml(path: Path, problems: list[Problem]) -> Element | None:
    """Read an xml file as UTF-8, whatever it declares; None after a problem, which ends the file."""
    start = len(problems)
    text = "".join(read_lines(path, problems))
    if len(problems) > start:
        end_file(problems, start)
        return None
    if not text.strip():
        problems.append(Problem(path, None, "is empty"))
        return None
    tree = _Tree()
    try:
        tree.parser.Parse(text, True)
    except expat.ExpatError as error:
        fault = f"is not well-formed xml ({expat.ErrorString(error.code)})"
        problems.append(Problem(path, error.lineno, fault, ends_file=True))
        return None
    except _Refused as error:
        problems.append(Problem(path, tree.parser.CurrentLineNumber, str(error), ends_file=True))
        return None
    return tree.top.children[0]


class _Tree:
    """The elements that a parser has met."""

    def __init__(self) -> None:
        self.top = Element("", {}, 0)
        self._open = [self.top]
        self._texts: list[list[str]] = [[]]  # the pieces of text in each open element
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _doctype(self, *_: object) -> None:
        raise _Refused("has a document type (<!DOCTYPE>), which is not read for safety; remove it")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) > MAX_DEPTH:
            raise _Refused(f"is nested more than {MAX_DEPTH} deep")
        element = Element(name, attributes, self.parser.CurrentLineNumber)
        self._open[-1].children.append(element)
        self._open.append(element)
        self._texts.append([])

    def _end(self, _: str) -> None:
        self._open.pop().text = "".join(self._texts.pop())

    def _text(self, text: str) -> None:
        self._texts[-1].append(text)
