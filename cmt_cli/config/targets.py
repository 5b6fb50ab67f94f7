"""Instantiate a plain mapping with `_target_`: allow-list, keyword check, call.

A target must lie in this package or in a package that the user trusts by name, and must be defined there: a name that a
trusted module merely imported (`cmt_cli.data.files.reading.os`) is refused. Values arrive resolved, so no interpolation
can change a target after the check, and the special keys of other instantiation schemes (`_args_`, `_partial_`, ...)
are refused.
"""

from __future__ import annotations

import importlib
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cmt_cli.core.exceptions import UserError, nearest

TARGET = "_target_"
_QUOTE = " A yaml file reads no, yes, on, off and 010 as false, true and 8: put such words in quotation marks."
_GROUPS = ("core", "layers", "memory", "training", "evaluation", "methods", "data", "models", "running", "tracking")
_OWN = tuple(f"cmt_cli.{group}" for group in _GROUPS)  # not the command line itself, which could lift its own checks


def instantiate(node: Any, trusted: Sequence[str] = ()) -> Any:
    """Build what a mapping with `_target_` describes, innermost first; lists become tuples, the rest stays as it is."""
    if isinstance(node, Mapping):
        values = {key: instantiate(value, trusted) for key, value in node.items() if key != TARGET}
        return resolve(node[TARGET], trusted)(**values) if TARGET in node else values
    if isinstance(node, list | tuple):
        return tuple(instantiate(value, trusted) for value in node)
    return node


def resolve(target: str, trusted: Sequence[str]) -> Callable[..., Any]:
    """Import what a target names; raise UserError where it is not trusted, absent, or defined elsewhere."""
    check_prefix(target, trusted)
    module_name, _, name = target.rpartition(".")
    try:
        found = vars(importlib.import_module(module_name)).get(name)
    except ModuleNotFoundError as error:
        if f"{module_name}.".startswith(f"{error.name}."):
            raise UserError(f"_target_ {target}: there is no module '{error.name}'.") from error
        raise UserError(f"{target} needs the package '{error.name}', which is not installed.") from error
    if not isinstance(found, type | types.FunctionType):
        raise UserError(f"_target_ {target}: {module_name} defines no class or function '{name}'.")
    if not _trusted(found.__module__, trusted):
        raise UserError(f"_target_ {target} is defined in '{found.__module__}', which is not trusted.")
    return found


def check_prefix(target: Any, trusted: Sequence[str]) -> None:
    """Raise UserError unless a target lies in this package or in a trusted one."""
    if not isinstance(target, str) or not _trusted(target, trusted):
        raise UserError(
            f"_target_ {target!r} is outside the trusted packages ({', '.join(['cmt_cli', *trusted])}). Configuration "
            "files can name any code, so only trusted packages are imported: if this one is yours, add it with "
            "trusted_targets=[its_package]."
        )


def _trusted(name: str, trusted: Sequence[str]) -> bool:
    return any(name == prefix or name.startswith(prefix.rstrip(".") + ".") for prefix in (*_OWN, *trusted))


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
        check_prefix(node[TARGET], trusted)
        special = [key for key in node if str(key).startswith("_") and key != TARGET]
        if special:
            raise UserError(f"{where}.{special[0]}: the only key with a leading underscore is {TARGET}.")


def check_arguments(tree: Any, trusted: Sequence[str]) -> None:
    """Compare every mapping that has `_target_` with its constructor's signature; imports the targets' modules."""
    for where, node in nodes(tree):
        parameters = _parameters(resolve(node[TARGET], trusted))
        for key, value in node.items():
            if key == TARGET:
                continue
            if key not in parameters:
                raise UserError(
                    f"{where}.{key}: {node[TARGET]} takes no '{key}'.{nearest(str(key), parameters)} "
                    f"Allowed: {', '.join(parameters) or 'nothing'}."
                )
            hint = parameters[key].annotation
            if not accepts(hint, value):
                raise UserError(
                    f"{where}.{key}={value!r} is a {type(value).__name__}; allowed: {_readable(hint)}."
                    f"{_QUOTE if _has_word(value) and 'str' in str(hint) else ''}"
                )
        missing = [name for name, p in parameters.items() if p.default is p.empty and name not in node]
        if missing:
            raise UserError(
                f"{where}: {node[TARGET]} also needs {', '.join(missing)}. Add it: +{where}.{missing[0]}=..."
            )


def _parameters(call: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(call, eval_str=True).parameters
    except NameError:  # a trusted package may import the names of its annotations for type checkers only
        return inspect.signature(call).parameters


def accepts(hint: Any, value: Any) -> bool:
    """Say whether a plain value can stand for a type; whole numbers pass as floats, nested targets as anything."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, Mapping) or hint in (Any, inspect.Parameter.empty) or isinstance(hint, str):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(accepts(argument, value) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments
    if isinstance(value, list | tuple):
        collection = origin or hint
        element = arguments[0] if arguments else Any
        return _is_collection(collection) and all(accepts(element, item) for item in value)
    if hint in (int, float):
        return isinstance(value, hint if hint is int else int | float) and not isinstance(value, bool)
    if hint in (str, bool, types.NoneType):
        return isinstance(value, hint)
    return hint is None and value is None


def _has_word(value: Any) -> bool:
    """Say whether a value holds what yaml may have made of a word: a truth value or a whole number."""
    return isinstance(value, bool | int) or (isinstance(value, list | tuple) and any(map(_has_word, value)))


def _is_collection(hint: Any) -> bool:
    return isinstance(hint, type) and hint is not str and issubclass(hint, Sequence)


def _readable(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(repr(argument) for argument in typing.get_args(hint))
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
