"""Whether a value of a configuration can stand for the type that a constructor's parameter declares.

A plain value is compared with the type; a nested mapping with `_target_` by what its class or function returns.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from typing_extensions import get_protocol_members, is_protocol

TARGET = "_target_"
_PLAIN = (str, int, float, bool, types.NoneType)
Made = Callable[[str], Any]  # from a target's name to the type of what it returns


def accepts(hint: Any, value: Any, made: Made) -> bool:
    """Say whether a value can stand for a type; whole numbers pass as floats, lists as any sequence.

    A mapping without `_target_` stands for mappings only.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, object, inspect.Parameter.empty) or isinstance(hint, str | typing.TypeVar):
        return True
    if isinstance(value, Mapping) and TARGET in value:
        return fits(made(value[TARGET]), hint)
    if origin in (typing.Union, types.UnionType):
        return any(accepts(argument, value, made) for argument in arguments)
    if isinstance(value, Mapping):
        return _is_kind(origin or hint, Mapping) and all(accepts(_last(arguments), v, made) for v in value.values())
    if origin is typing.Literal:
        return value in arguments
    if isinstance(value, list | tuple):
        return _is_kind(origin or hint, Sequence) and all(accepts(_first(arguments), item, made) for item in value)
    if hint in (int, float):
        return isinstance(value, hint if hint is int else int | float) and not isinstance(value, bool)
    if hint in (str, bool, types.NoneType):
        return isinstance(value, hint)
    return hint is None and value is None


def misfits(hint: Any, value: Any, made: Made, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield place, value and wanted type of what does not fit, at the innermost place that can be named."""
    if accepts(hint, value, made):
        return
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    inner: list[tuple[str, Any, Any]] = []
    if isinstance(value, Mapping) and TARGET not in value and _is_kind(origin or hint, Mapping):
        inner = [(f"{place}.{key}", item, _last(arguments)) for key, item in value.items()]
    elif isinstance(value, list | tuple) and _is_kind(origin or hint, Sequence) and not all(map(_is_plain, value)):
        inner = [(f"{place}[{index}]", item, _first(arguments)) for index, item in enumerate(value)]
    found = [misfit for where, item, wanted in inner for misfit in misfits(wanted, item, made, where)]
    yield from found or [(place, value, hint)]


def fits(made: Any, hint: Any) -> bool:
    """Say whether objects of one type can stand for another; protocols are compared by their members.

    A function of a trusted package that does not say what it returns passes.
    """
    if made in (Any, inspect.Signature.empty) or isinstance(made, str):
        return True
    if hint in (Any, object, inspect.Parameter.empty) or isinstance(hint, str | typing.TypeVar):
        return True
    if typing.get_origin(made) in (typing.Union, types.UnionType):
        return all(fits(argument, hint) for argument in typing.get_args(made))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(fits(made, argument) for argument in typing.get_args(hint))
    produced, wanted = typing.get_origin(made) or made, typing.get_origin(hint) or hint
    if not isinstance(produced, type) or not isinstance(wanted, type):
        return produced is wanted
    if is_protocol(wanted):
        return wanted in produced.__mro__ or all(_has(produced, name, wanted) for name in get_protocol_members(wanted))
    return issubclass(produced, wanted)


def returned(call: Callable[..., Any]) -> Any:
    """Return the type of what a class or function returns, empty where it does not say so."""
    return call if isinstance(call, type) else signature(call).return_annotation


def signature(call: Callable[..., Any]) -> inspect.Signature:
    """Return a signature with its annotations resolved, where they can be."""
    try:
        return inspect.signature(call, eval_str=True)
    except NameError:  # a trusted package may import the names of its annotations for type checkers only
        return inspect.signature(call)


def readable(hint: Any) -> str:
    """Return a type as an error message names it."""
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(repr(argument) for argument in typing.get_args(hint))
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _has(produced: type, name: str, protocol: type) -> bool:
    """Say whether a class has a member of a protocol; a method must take the same arguments."""
    wanted = inspect.getattr_static(protocol, name, None)
    found = inspect.getattr_static(produced, name, None)
    if not isinstance(wanted, types.FunctionType):
        classes = produced.__mro__
        # Attributes without a default are known by their annotation, or by the constructor that sets them.
        annotated = any(name in vars(base).get("__annotations__", {}) for base in classes)
        codes = [vars(base)["__init__"].__code__ for base in classes if _is_function(vars(base).get("__init__"))]
        return found is not None or annotated or any(name in code.co_names for code in codes)
    if not _is_function(found):
        return False
    parameters = inspect.signature(wanted).parameters.values()
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        return True
    by_name = {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY}
    try:
        inspect.signature(found).bind(*[None] * (len(parameters) - len(by_name)), **by_name)
    except TypeError:
        return False
    return True


def _is_plain(value: Any) -> bool:
    return not isinstance(value, Mapping)


def _is_function(value: Any) -> bool:
    return isinstance(value, types.FunctionType)


def _first(arguments: tuple[Any, ...]) -> Any:
    return arguments[0] if arguments else Any


def _last(arguments: tuple[Any, ...]) -> Any:
    return arguments[-1] if arguments else Any


def _is_kind(hint: Any, kind: type) -> bool:
    return isinstance(hint, type) and hint not in _PLAIN and issubclass(hint, kind)
