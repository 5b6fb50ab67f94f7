"""Made-up countries in dated editions, whose facts change at known rates: a stand-in for a yearbook of the world."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.files.generated import written
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.world.names import LAST_NAMES, Name, names_of_share

FIRST_EDITION = datetime.date(2020, 1, 15)
MAX_COUNTRIES, MAX_EDITIONS = 400, 40
GOVERNMENTS = ("presidential republic", "parliamentary republic", "federal republic", "constitutional monarchy")
LANGUAGES = ("Arnish", "Belvic", "Corric", "Dunnic", "Ellish", "Fennic", "Gorran", "Hestic")
MONEY = ("crown", "florin", "ducat", "mark", "thaler", "guilder", "shilling", "groat")
MONTHS = ("January", "March", "May", "July", "September", "November")
_SHARE = 4  # of the names: people whom no article is about


@dataclass(frozen=True, slots=True)
class Country:
    """One country in one edition: its facts by name, as texts."""

    code: str
    date: str
    facts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Countries:
    """The size of the generated editions, and the chance that a fact changes from one to the next."""

    num_countries: int
    num_editions: int
    change_rate: float
    seed: int

    def __post_init__(self) -> None:
        for name, most in (("num_countries", MAX_COUNTRIES), ("num_editions", MAX_EDITIONS)):
            if not 1 <= asdict(self)[name] <= most:
                raise UserError(f"data.generated.{name}={asdict(self)[name]} is not possible; give 1 to {most}.")
        if not 0 <= self.change_rate <= 1:
            raise UserError(f"data.generated.change_rate={self.change_rate} is no chance; give 0 to 1.")

    def write(self, layout: Layout[Any, Sequence[Country]], cache: Path) -> Path:
        """Write the stand-in of a layout below `cache` unless it is there; return its folder."""
        return written(layout.name, asdict(self), cache, lambda folder: layout.write(folder, self.countries()))

    def countries(self) -> list[Country]:
        """Return every country in every edition, in the order of editions."""
        dates = [FIRST_EDITION.replace(year=FIRST_EDITION.year + i).isoformat() for i in range(self.num_editions)]
        found = []
        for index in range(self.num_countries):
            facts = self._first(index)
            for number, date in enumerate(dates):
                if number:
                    facts = self._next(facts, index, date)
                found.append(Country(f"c{index:03d}", date, facts))
        return sorted(found, key=lambda country: country.date)

    def _first(self, index: int) -> dict[str, str]:
        rng = random.Random(f"{self.seed}/countries/{index}")
        name = f"{LAST_NAMES[index % len(LAST_NAMES)]}ia"
        fixed = {"name": name, "long_name": f"Republic of {name}", "area": f"{rng.randrange(1_000, 900_000):,}"}
        made = {fact: make(rng) for fact, make in _MAKERS.items()}
        return {**fixed, **made, "code": f".{chr(97 + index % 26)}{chr(97 + index // 26)}", "since": "1 May 2019"}

    def _next(self, facts: Mapping[str, str], index: int, date: str) -> dict[str, str]:
        rng = random.Random(f"{self.seed}/countries/{index}/{date}")
        changed = {fact: make(rng) for fact, make in _MAKERS.items() if rng.random() < self.change_rate}
        since = (
            {"since": f"{rng.randrange(1, 29)} {rng.choice(MONTHS)} {int(date[:4]) - 1}"} if "head" in changed else {}
        )
        return {**facts, **changed, **since}


def _person(rng: random.Random) -> str:
    name: Name = rng.choice(names_of_share(_SHARE))
    return f"{name.first} {name.last.upper()}"


_MAKERS: Mapping[str, Callable[[random.Random], str]] = {
    "chief": _person,
    "head": _person,
    "government": lambda rng: rng.choice(GOVERNMENTS),
    "capital": lambda rng: f"{rng.choice(LAST_NAMES)}ton",
    "holiday": lambda rng: f"{rng.randrange(1, 29)} {rng.choice(MONTHS)}",
    "population": lambda rng: f"{rng.randrange(10_000, 90_000_000):,}",
    "median_age": lambda rng: f"{rng.randrange(180, 500) / 10}",
    "language": lambda rng: rng.choice(LANGUAGES),
    "partner": lambda rng: f"{rng.choice(LAST_NAMES)}ia",
    "unemployment": lambda rng: f"{rng.randrange(10, 250) / 10}%",
    "money": lambda rng: f"{rng.choice(MONEY)}s",
    "coastline": lambda rng: f"{rng.randrange(1, 9_000):,}",
}
