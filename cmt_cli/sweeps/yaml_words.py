"""Reads yaml as Hydra's command line reads the same words: `no`, `010` and `12:30` are text, `1e-5` is a number.

These are the rules of yaml 1.2 (core schema), with Hydra's `inf`, `nan` and `1_000`, and without numbers that Hydra
would hand on as text (0x1F, 010).
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from typing_extensions import override

from cmt_cli.core.exceptions import UserError

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)$")
_FLOAT = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9]*(?:_[0-9]+)*)?\.[0-9]+|(?:0|[1-9][0-9]*(?:_[0-9]+)*)\.?)(?:[eE][-+]?[0-9]+)?$"
)
_TAGS = {
    "null": re.compile(r"(?:~|null|Null|NULL|)$"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"),
    "int": _INT,
    "float": _FLOAT,
    "merge": re.compile("<<$"),
}


_RESOLVERS: dict[Any, Any] = {None: [(f"tag:yaml.org,2002:{tag}", rule) for tag, rule in _TAGS.items()]}


class WordLoader(yaml.SafeLoader):
    """A safe loader with these rules, which refuses a key that is written twice."""

    yaml_implicit_resolvers = _RESOLVERS  # in place of yaml 1.1's

    @override
    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; raise a ConstructorError for a key that occurs twice."""
        keys = [key.value for key, _ in node.value]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise yaml.constructor.ConstructorError(None, None, f"the key '{twice}' occurs twice", node.start_mark)
        return dict(super().construct_mapping(node, deep=deep))


def number(text: str) -> Any:
    """Return a number where Hydra reads the text as one, else the text."""
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def load(text: str, place: str) -> Any:
    """Return what a yaml text holds; raise UserError, which names its place, for one that is none."""
    try:
        return yaml.load(text, WordLoader)
    except yaml.YAMLError as error:
        raise UserError(f"'{place}' cannot be read as yaml: {str(error).splitlines()[0]}.") from error
