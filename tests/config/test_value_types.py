"""Which values of a configuration can stand for a declared type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pytest

from cmt_cli.config import value_types


class Shape(Protocol):
    @property
    def sides(self) -> int:
        """Return the number of sides."""

    def area(self, width: float, *, unit: str) -> float:
        """Return the area."""


class Declared(Shape):
    pass


@dataclass(slots=True)
class Alike:
    sides: int

    def area(self, size: float, *, unit: str = "m") -> float:
        return size


class SetLater:
    def __init__(self) -> None:
        self.sides = 4

    def area(self, width: float, height: float = 1.0, *, unit: str) -> float:
        return width * height


class WithoutSides:
    def area(self, width: float, *, unit: str) -> float:
        return width


class OtherArguments:
    sides = 4

    def area(self, width: float, height: float, *, unit: str) -> float:
        return width * height


class NoMethod:
    sides = 4
    area = 3.0


class Small(Alike):
    pass


def maybe() -> Alike | None:
    return None


def small() -> Small:
    return Small(1)


def untold():  # type: ignore[no-untyped-def]
    return None


TARGETS: dict[str, Callable[..., Any]] = {"alike": Alike, "small": small, "maybe": maybe, "untold": untold}


def accepts(hint: Any, value: Any) -> bool:
    return value_types.accepts(hint, value, lambda target: value_types.returned(TARGETS[target]))


def node(target: str) -> dict[str, str]:
    return {"_target_": target}


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (float, 1, True),
        (int, 1.5, False),
        (int, True, False),
        (int | None, None, True),
        (str | None, 3, False),
        (tuple[float, float], [0.9, 0.99], True),
        (tuple[float, float], ["a"], False),
        (str | Sequence[str], ["q", "v"], True),
        (str, ["q"], False),
        (Literal["a"], "a", True),
        (Any, {"x": 1}, True),
        (Mapping[str, int], {"x": 1}, True),
        (Mapping[str, int], {"x": "one"}, False),
        (dict, {"x": "one"}, True),
        (str | Mapping[str, str | None], {"x": None}, True),
        (str, {"x": 1}, False),
        (Sequence[str], {"x": 1}, False),
        (Alike, 3, False),
    ],
)
def test_plain_values(hint: Any, value: Any, expected: bool) -> None:
    assert accepts(hint, value) is expected


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (Alike, node("alike"), True),
        (Alike, node("small"), True),  # a subclass, by what the function returns
        (Small, node("alike"), False),
        (Alike | None, node("alike"), True),
        (Alike | None, node("maybe"), True),
        (Alike, node("maybe"), False),  # it may be None
        (Small | str, node("alike"), False),
        (Sequence[Alike], [node("alike"), node("small")], True),
        (Sequence[Small], [node("small"), node("alike")], False),
        (Sequence[Small], node("small"), False),
        (Mapping[str, Alike], {"one": node("small")}, True),
        (Mapping[str, Small], {"one": node("alike")}, False),
        (Mapping[str, int], node("alike"), False),
        (Shape, node("alike"), True),
        (str, node("alike"), False),
        (Literal["a"], node("alike"), False),
        (Any, node("alike"), True),
        (Alike, node("untold"), True),
        (Alike, {}, False),
        (Shape, {"sides": 3}, False),
    ],
)
def test_nested_targets(hint: Any, value: Any, expected: bool) -> None:
    assert accepts(hint, value) is expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Declared, True),
        (Alike, True),
        (SetLater, True),
        (WithoutSides, False),
        (OtherArguments, False),
        (NoMethod, False),
    ],
)
def test_protocols_are_compared_by_their_members(kind: type, expected: bool) -> None:
    assert value_types.fits(kind, Shape) is expected
