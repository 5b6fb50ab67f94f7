"""Writes made-up countries in the layout of the World Factbook, with the forms that its editions have.

Later editions carry HTML and name years in keys, and some texts have another wording for the same fact, so that the
rules for the real files are used on generated ones too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cmt_cli.data.world.countries import Country

REGION = "generated"


def write(folder: Path, countries: Sequence[Country]) -> None:
    """Write DATE/generated/CODE.json for each country and edition."""
    dates = sorted({country.date for country in countries})
    for country in countries:
        place = folder / country.date / REGION / f"{country.code}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        is_late = dates.index(country.date) >= len(dates) / 2
        place.write_text(json.dumps(profile(country, is_late=is_late), indent=1) + "\n", encoding="utf-8")


def profile(country: Country, *, is_late: bool) -> dict[str, Any]:
    """Return a country's profile in the form of the earlier editions, or in that of the later ones."""
    facts, year = country.facts, country.date[:4]
    note = "; <strong>note:</strong>&nbsp;made up" if is_late else "; note - made up"
    people: dict[str, Any] = {
        "Population": _leaf(f"{facts['population']} (July {year} est.)"),
        "Median age": {"total": _leaf(f"{facts['median_age']} years")},
        "Languages": _leaf(f"{facts['language']} (official) 80%, other 20% ({year} est.)"),
    }
    economy: dict[str, Any] = {
        "Exports - partners": _leaf(f"{facts['partner']} 34.5%, other 65.5% ({year})"),
        "Unemployment rate": _leaf(f"{facts['unemployment']} ({year} est.)"),
        "Exchange rates": _leaf(f"{facts['money']} (XXX) per US dollar - ++ 1.5 ({year} est.)"),
    }
    if is_late:
        people["Population"] = {"total": _leaf(f"{facts['population']} ({year} est.)")}
        people["Languages"] = {"Languages": people["Languages"]}
        economy["Unemployment rate"] = {f"Unemployment rate {year}": economy["Unemployment rate"]}
        economy["Exchange rates"] = {"Currency": _leaf(f"{facts['money']} (XXX) per US dollar -")}
    return {
        "Geography": {
            "Area": {"total " if is_late else "total": _leaf(f"{facts['area']} sq km")},
            "Coastline": _leaf(f"{facts['coastline']} km"),
        },
        "People and Society": people,
        "Government": {
            "Country name": {
                "conventional long form": _leaf(facts["long_name"]),
                "conventional short form": _leaf(facts["name"]),
            },
            "Government type": _leaf(facts["government"]),
            "Capital": {"name": _leaf(f"{facts['capital']}{note}")},
            "National holiday": _leaf(f"Founding Day, {facts['holiday']} (1801)"),
            "Executive branch": {
                "chief of state": _leaf(f"President {facts['chief']}{'<br>' if is_late else ''} (since 2 June 2018)"),
                "head of government": _leaf(f"Prime Minister {facts['head']} (since {facts['since']})"),
            },
        },
        "Economy": economy,
        "Communications": {"Internet country code": _leaf(facts["code"])},
    }


def _leaf(text: str) -> dict[str, str]:
    return {"text": text}
