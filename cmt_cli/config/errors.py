"""Readable errors in place of Hydra's and OmegaConf's: what was given, what is allowed, the nearest match."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from cmt_cli.config import catalog, compose, references
from cmt_cli.core.exceptions import UserError, nearest

OTHER_NAMES = {"label": "answer", "labels": "answer", "target": "answer"}  # what a key is called elsewhere


def explain(
    error: HydraException | OmegaConfBaseException, overrides: Sequence[str], dirs: Sequence[Path]
) -> UserError:
    """Return the error that a user reads in place of Hydra's; what a variable holds is no part of it."""
    return UserError(references.hidden(str(_explained(error, overrides, dirs)), overrides))


def _explained(
    error: HydraException | OmegaConfBaseException, overrides: Sequence[str], dirs: Sequence[Path]
) -> UserError:
    if isinstance(error, OverrideParseException):
        return UserError(
            f"'{error.override}' is not KEY=VALUE as Hydra reads it{_grammar_fault(error)}. "
            "Quote values that hold spaces, commas, semicolons or brackets, e.g. 'data.path=\"/my data/x.json\"'."
        )
    if isinstance(error, MissingConfigException):
        return _missing_option(error, dirs)
    cause = error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        return _unknown_key(str(cause.full_key), overrides, dirs)
    match = re.search(r"No match in the defaults list|Could not override '([^']+)'", str(error))
    if match and match[1]:
        return _unknown_key(match[1].partition("@")[0], overrides, dirs)
    return UserError(_plain(error, overrides))


def _plain(error: Exception, overrides: Sequence[str]) -> str:
    text = " ".join(str(error).split())
    if "Ambiguous value" in text:
        swept = next((o for o in overrides if o in text), "")
        return f"'{swept}' names several values: add -m to run one job for each, or write a list as KEY=[A,B]."
    return f"{text} {_first_line(error.__cause__)}".strip() if error.__cause__ else text


def _grammar_fault(error: Exception) -> str:
    """Return what the grammar says behind a colon; its lexer says nothing but the text again."""
    fault = _first_line(error)
    return "" if fault.startswith("Lexer") else f": {fault}"


def _first_line(error: BaseException | None) -> str:
    return str(error).splitlines()[0].rstrip(".") if error is not None and str(error) else ""


def _missing_option(error: MissingConfigException, dirs: Sequence[Path]) -> UserError:
    group, _, name = str(error.missing_cfg_file or "").rpartition("/")
    found = error.options or [option.name for option in catalog.options(group, dirs)]
    allowed = [option for option in found if not option.rpartition("/")[2].startswith("_")]  # those are parts of others
    if not group or not allowed:
        return UserError(" ".join(str(error).split("\n\n")[0].split()))
    return UserError(catalog.no_such_option(group, name, allowed))


def _unknown_key(key: str, overrides: Sequence[str], dirs: Sequence[Path]) -> UserError:
    parent, _, leaf = key.rpartition(".")
    node = _without(key, overrides, dirs)
    holder: Any = OmegaConf.select(node, parent) if parent else node
    names = [str(name) for name in holder] if isinstance(holder, DictConfig) else []
    if leaf in names and (other_place := _interpolated(node, parent)):
        return UserError(f"{key}: {parent} is {other_place} here. Set it there: {other_place}.{leaf}=...")
    if not parent:
        names = sorted({*names, *catalog.group_names(dirs)})
    allowed = [name for name in names if name != "hydra" and not name.startswith("_")]
    if not parent and leaf in catalog.group_names(dirs):
        return UserError(
            f"{leaf}: nothing that was chosen takes it there. `cmt list methods NAME` shows the parts of a method "
            "and how to exchange them."
        )
    if not allowed and parent:
        return UserError(f"{key}: there is no '{parent}' with keys of its own in this configuration.")
    other = OTHER_NAMES.get(leaf)
    near = f" Did you mean '{other}'?" if other in allowed else nearest(leaf, allowed)
    return UserError(
        f"{key}: there is no such key{f' in {parent}' if parent else ''}.{near} "
        f"Allowed: {', '.join(allowed)}. A key that is really new is added with +{key}=..."
    )


def _interpolated(node: DictConfig, key: str) -> str:
    """Return the place whose values stand at a key by interpolation, "" where the values are its own."""
    parent, _, leaf = key.rpartition(".")
    holder: Any = OmegaConf.select(node, parent) if parent else node
    if not isinstance(holder, DictConfig) or not OmegaConf.is_interpolation(holder, leaf):
        return ""
    text: Any = OmegaConf.to_container(holder, resolve=False)
    return str(text[leaf]).removeprefix("${").removesuffix("}")


def _without(key: str, overrides: Sequence[str], dirs: Sequence[Path]) -> DictConfig:
    """Compose the overrides that choose options and leave single keys at their defaults, to see what is allowed."""
    lines = compose.first_values(overrides, dirs)
    parsed = OverridesParser.create().parse_overrides(lines)
    groups = catalog.group_names(dirs)
    chosen = [line for line, o in zip(lines, parsed, strict=True) if o.key_or_group in groups and o.key_or_group != key]
    return compose.compose(chosen, dirs)
