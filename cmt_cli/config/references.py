"""Environment variables in a configuration: `${oc.env:NAME}` is recorded, and its value is read when it is used.

A key or a private place is named on the command line and must not stand in config.yaml, result.json or W&B, so that
the text of the reference is the setting, in the hash of a run too. What is no text is no secret: a number that
`${oc.decode:${oc.env:NAME}}` reads is an ordinary setting, and so are variables of this program's own. In a file, a
default is written in quotation marks, `${oc.env:NAME,'default'}`, or as null.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from omegaconf import OmegaConf
from omegaconf.resolvers import oc

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.exceptions import told as refused

OWN = ("CMT_CACHE",)  # conf/ names it, and what it says is no secret
_PREFIX = "${oc.env:"
_SWEPT = r"$\{oc.env\:"  # as Hydra writes a value of a sweep into a job's overrides
_REFERENCE = re.compile(r"\$\{oc\.env:\s*([^\s,{}']+)\s*(?:,\s*(null|'(?:[^'\\]|\\.)*')\s*)?\}")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_NAMES = re.compile(r"oc\.env:\s*([^\s,{}']+)")
_OPEN, _CLOSE = "\ue000", "\ue001"  # in the place of "${" and "}" while OmegaConf is at work, which would resolve them
_SECRET_KEY = re.compile(r"(^|[._])(api_?key|access_?key|password|passwd|secret|credentials?|token)$")
_PASSWORD = re.compile(r"\w://[^/\s:@]*:[^/\s@]+@")
_NO_DEFAULT = object()
_MIN_CHARACTERS = 4  # of a value, below which its being somewhere else in a text means nothing


@contextmanager
def kept() -> Iterator[None]:
    """Let OmegaConf leave references in what it resolves, for `written` to read."""
    OmegaConf.register_new_resolver("oc.env", _reference, replace=True)
    OmegaConf.register_new_resolver("oc.decode", _decoded, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)
        OmegaConf.register_new_resolver("oc.decode", oc.decode, replace=True)


def written(tree: Any) -> Any:
    """Return plain values that were resolved under `kept`, with references as one writes them."""
    return _changed(tree, lambda text, where: text.replace(_OPEN, "${").replace(_CLOSE, "}"))


def expanded(tree: Any, where: str = "") -> Any:
    """Return plain values with the variables' values in the place of references.

    Raises UserError for a variable that is not set and has no default; `where` is the key of `tree`.
    """
    return _changed(tree, _expanded, where)


def names(tree: Any) -> dict[str, str]:
    """Return the variables that plain values refer to, each with the first key that does."""
    found: dict[str, str] = {}

    def look(text: str, where: str) -> str:
        if _SWEPT in text:
            text = _ESCAPED.sub(r"\1", text)
        while _PREFIX in text:
            for name in _NAMES.findall(text):
                found.setdefault(name, where)
            plain = _ESCAPED.sub(r"\1", text)  # a default in a default is spelled like this until it is read
            text = plain if plain != text else ""
        return text

    _changed(tree, look)
    return found


def told(config: Mapping[str, Any], texts: Iterable[str]) -> list[str]:
    """Return the variables of a configuration whose values stand in any of the texts."""
    values = _values(config)
    joined = "\n".join(texts) if values else ""
    return list(dict.fromkeys(name for value, name in values if value in joined))


def plain_secrets(tree: Any) -> list[str]:
    """Return the keys whose values look like secrets by the key's name, or are addresses with a password."""
    found: list[str] = []

    def look(text: str, where: str) -> str:
        is_secret = bool(_SECRET_KEY.search(where.lower())) and not text.startswith("<")  # as special tokens do
        if text and _PREFIX not in text and (is_secret or _PASSWORD.search(text)):
            found.append(where)
        return text

    _changed(tree, look)
    return found


def hidden(text: str, tree: Any) -> str:
    """Return a text with references in the place of the values of all variables that plain values refer to."""
    for value, name in _values(tree):
        text = text.replace(value, f"{_PREFIX}{name}}}")
    return text


@contextmanager
def hiding(tree: Any) -> Iterator[None]:
    """Hide values in the UserErrors of what is called, and in the system's refusals: they are recorded, too."""
    try:
        yield
    except (UserError, OSError) as error:
        said = str(error) if isinstance(error, UserError) else refused(error)
        text = None if said is None else hidden(said, tree)
        if text is None or text == said:
            raise
        raise UserError(text) from None  # the cause would show them


def _values(tree: Any) -> list[tuple[str, str]]:
    """Return the values of all variables that plain values refer to, in each spelling, with the variable's name."""
    known = {value: name for name in names(tree) for value in _spellings(os.environ.get(name, ""))}
    longest = sorted(known.items(), key=lambda item: -len(item[0]))  # one may be the beginning of another
    return [(value, name) for value, name in longest if len(value) >= _MIN_CHARACTERS]


def _spellings(value: str) -> set[str]:
    """Return a value, how messages quote it and, where it may be a path, how `pathlib` writes that."""
    found = {value, repr(value)[1:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    if "/" in value:
        place = os.path.expanduser(value)
        found |= {place, os.path.normpath(value), os.path.normpath(place), os.path.realpath(place)}
    return found


def _changed(tree: Any, change: Any, where: str = "") -> Any:
    """Return a copy of plain values with every text changed; `change` takes the text and its key."""
    if isinstance(tree, Mapping):
        return {key: _changed(value, change, f"{where}.{key}" if where else str(key)) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_changed(value, change, f"{where}[{index}]") for index, value in enumerate(tree)]
    return change(tree, where) if isinstance(tree, str) else tree


def _expanded(text: str, where: str) -> str | None:
    if _PREFIX not in text:
        return text
    if whole := _REFERENCE.fullmatch(text):
        return _value(whole, where)
    if _PREFIX in _REFERENCE.sub("", text):
        raise UserError(f"{where}={text} is no reference to a variable: it is written ${{oc.env:NAME}}.")
    return _REFERENCE.sub(lambda match: str(_value(match, where)), text)


def _value(match: re.Match[str], where: str) -> str | None:
    name, default = match[1], match[2]
    if name in os.environ:
        return os.environ[name]
    if default is None:
        raise UserError(
            f"{where} takes its value from the environment variable {name}, which is not set here: "
            f"`export {name}=...`, then repeat the command."
        )
    return None if default == "null" else _expanded(_ESCAPED.sub(r"\1", default[1:-1]), where)


def _reference(key: str, default: Any = _NO_DEFAULT) -> str | None:
    """Stand for `oc.env`: return the reference itself, whether the variable is set here or not."""
    if key in OWN:
        return oc.env(key) if default is _NO_DEFAULT else oc.env(key, default)
    if default is _NO_DEFAULT:
        return f"{_OPEN}oc.env:{key}{_CLOSE}"
    escaped = str(default).replace("\\", "\\\\").replace("'", "\\'")
    otherwise = "null" if default is None else f"'{escaped}'"
    return f"{_OPEN}oc.env:{key},{otherwise}{_CLOSE}"


def _decoded(text: str | None, _parent_: Any, _node_: Any) -> Any:
    """Stand for `oc.decode`: read what is no text from a variable at once."""
    if not isinstance(text, str) or _OPEN not in text:
        return oc.decode(text, _parent_, _node_)
    value = oc.decode(expanded(written(text), str(_node_._get_full_key(None))), _parent_, _node_)
    if isinstance(value, str):
        raise UserError(f"oc.decode reads numbers, truth values and lists; a text is given as {written(text)} alone.")
    return value
