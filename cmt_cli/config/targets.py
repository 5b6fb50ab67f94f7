"""Instantiate a plain mapping with `_target_`: allow-list, keyword and type check, call.

A target is one of the package's constructors (`constructors.py`), or a public name of a package that the user trusts,
and must be defined there: what a trusted module merely imported (`my_package.os`) is refused. Values arrive resolved,
so no interpolation can change a target after the check, and the special keys of other instantiation schemes
(`_args_`, `_partial_`, ...) are refused.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cmt_cli.config.constructors import CONSTRUCTORS, METHODS, PARTS
from cmt_cli.config.value_types import TARGET, accepts, misfits, readable, returned, signature
from cmt_cli.core.exceptions import UserError, nearest

_OWN = "cmt_cli"
_QUOTE = " A yaml file reads no, yes, on, off and 010 as false, true and 8: put such words in quotation marks."


def instantiate(node: Any, trusted: Sequence[str] = ()) -> Any:
    """Build what a mapping with `_target_` describes, innermost first; lists become tuples, the rest stays as it is."""
    if isinstance(node, Mapping):
        values = {key: instantiate(value, trusted) for key, value in node.items() if key != TARGET}
        return resolve(node[TARGET], trusted)(**values) if TARGET in node else values
    if isinstance(node, list | tuple):
        return tuple(instantiate(value, trusted) for value in node)
    return node


def resolve(target: str, trusted: Sequence[str]) -> Callable[..., Any]:
    """Import what a target names; raise UserError where it is not allowed, absent, or defined elsewhere."""
    check_name(target, trusted)
    module_name, _, name = target.rpartition(".")
    try:
        found = vars(importlib.import_module(module_name)).get(name)
    except ModuleNotFoundError as error:
        if f"{module_name}.".startswith(f"{error.name}."):
            raise UserError(f"_target_ {target}: there is no module '{error.name}'.") from error
        raise UserError(f"{target} needs the package '{error.name}', which is not installed.") from error
    if not isinstance(found, type | types.FunctionType):
        raise UserError(f"_target_ {target}: {module_name} defines no class or function '{name}'.")
    if f"{found.__module__}.{found.__qualname__}" not in CONSTRUCTORS and not _trusted(found.__module__, trusted):
        raise UserError(f"_target_ {target} is defined in '{found.__module__}', which is not trusted.")
    return found


def check_name(target: Any, trusted: Sequence[str]) -> None:
    """Raise UserError unless a target is one of this package's constructors, or public in a trusted package."""
    if isinstance(target, str) and target in CONSTRUCTORS:
        return
    if isinstance(target, str) and target.partition(".")[0] == _OWN:
        raise UserError(
            f"_target_ {target!r} is none of the classes and functions of {_OWN} that configurations may name."
            f"{nearest(target, CONSTRUCTORS)}"
        )
    if not isinstance(target, str) or not _trusted(target, trusted):
        raise UserError(
            f"_target_ {target!r} is outside the trusted packages ({', '.join([_OWN, *trusted])}). Configuration "
            "files can name any code, so only trusted packages are imported: if this one is yours, add it with "
            "trusted_targets=[its_package]."
        )
    if any(part.startswith("_") for part in target.split(".")):
        raise UserError(f"_target_ {target!r} is private: configurations name public classes and functions.")


def _trusted(name: str, trusted: Sequence[str]) -> bool:
    if name.partition(".")[0] == _OWN:
        return False  # its constructors are listed, and nobody's word adds to them
    return any(name == prefix or name.startswith(prefix.rstrip(".") + ".") for prefix in trusted)


def nodes(tree: Any, where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every mapping of a plain tree that has `_target_`, with its dotted path, outermost first."""
    if isinstance(tree, Mapping):
        if TARGET in tree:
            yield where, tree
        for key, value in tree.items():
            yield from nodes(value, f"{where}.{key}" if where else str(key))
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield from nodes(value, f"{where}[{index}]")


def check_trust(tree: Any, trusted: Sequence[str]) -> None:
    """Check every `_target_` of a plain tree against the allow-list, without importing anything."""
    for where, node in nodes(tree):
        check_name(node[TARGET], trusted)
        special = [key for key in node if str(key).startswith("_") and key != TARGET]
        if special:
            raise UserError(f"{where}.{special[0]}: the only key with a leading underscore is {TARGET}.")


def check_arguments(tree: Any, trusted: Sequence[str]) -> None:
    """Compare every mapping that has `_target_` with its constructor's signature; imports the targets' modules.

    What a nested target returns must be what the parameter declares.
    """

    def made(target: str) -> Any:
        return returned(resolve(target, trusted))

    for where, node in nodes(tree):
        parameters = signature(resolve(node[TARGET], trusted)).parameters
        for key, value in node.items():
            if key == TARGET:
                continue
            if key not in parameters:
                raise UserError(
                    f"{where}.{key}: {node[TARGET]} takes no '{key}'.{nearest(str(key), parameters)} "
                    f"Allowed: {', '.join(parameters) or 'nothing'}."
                )
            for misfit in misfits(parameters[key].annotation, value, made, f"{where}.{key}"):
                raise UserError(_misfit(*misfit))
        missing = [name for name, p in parameters.items() if p.default is p.empty and name not in node]
        if missing:
            raise UserError(
                f"{where}: {node[TARGET]} also needs {', '.join(missing)}. Add it: +{where}.{missing[0]}=..."
            )


def check_parts(tree: Mapping[str, Any], trusted: Sequence[str]) -> None:
    """Raise UserError where a group of a run's configuration builds another part than the run takes from it."""
    groups = [(group, tree[group], part) for group, part in PARTS.items() if group in tree]
    groups += [(f"{METHODS}.{name}", node, PARTS["method"]) for name, node in (tree.get(METHODS) or {}).items()]
    for where, node, part in groups:
        module, _, name = part.rpartition(".")
        wanted = getattr(importlib.import_module(module), name)
        if not isinstance(node, Mapping) or not accepts(
            wanted, node, lambda target: returned(resolve(target, trusted))
        ):
            raise UserError(_misfit(where, node, wanted))


def _misfit(place: str, value: Any, wanted: Any) -> str:
    """Return the sentence that says which key it is, what it holds and what is wanted."""
    if isinstance(value, Mapping):
        kind = value.get(TARGET, f"mapping without {TARGET}")
        return f"{place} is a {kind}; allowed: {readable(wanted)}."
    hint = _QUOTE if _has_word(value) and "str" in str(wanted) else ""
    return f"{place}={value!r} is a {type(value).__name__}; allowed: {readable(wanted)}.{hint}"


def _has_word(value: Any) -> bool:
    """Say whether a value holds what yaml may have made of a word: a truth value or a whole number."""
    return isinstance(value, bool | int) or (isinstance(value, list | tuple) and any(map(_has_word, value)))
