"""The fields of a World Factbook profile that are asked: where they stand, in which article, and the question.

A path names nested keys; a later one is tried where an earlier one is missing, since the publisher moved fields. The
last key may be "*": then the first of the keys there that hold a text is meant, which is that of the newest year.
"""

from __future__ import annotations

from dataclasses import dataclass

from cmt_cli.data.knowledge import factbook_changes as changes
from cmt_cli.data.knowledge import factbook_values as values
from cmt_cli.data.knowledge.factbook_changes import Same
from cmt_cli.data.knowledge.factbook_values import Reader

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """One fact of a profile. `label` begins its sentence in an article, `question` goes on after "As of <date>, ".

    Both hold "{country}": a sentence has to name what it is about, to be found and to be learned.
    """

    name: str
    label: str
    article: str
    paths: tuple[Path, ...]
    question: str
    read: Reader
    same: Same


def _field(name: str, label: str, article: str, paths: str, question: str, read: Reader, same: Same) -> Field:
    split = tuple(tuple(key.strip() for key in path.split("/")) for path in paths.split("|"))
    return Field(name, label, article, split, question, read, same)


_GOVERNMENT, _PEOPLE, _ECONOMY, _LAND = "government", "people", "economy", "geography and communications"
_HEADS = "Government/Executive branch"
_MISSION = "chief of mission"
_SOCIETY = "People and Society"

FIELDS = (
    _field(
        "chief_of_state", "Chief of state of {country}", _GOVERNMENT, f"{_HEADS}/chief of state",
        "who is the chief of state of {country}?", values.person, changes.same_person,
    ),
    _field(
        "head_of_government", "Head of government of {country}", _GOVERNMENT, f"{_HEADS}/head of government",
        "who is the head of government of {country}?", values.person, changes.same_person,
    ),
    _field(
        "government_type", "Government type of {country}", _GOVERNMENT, "Government/Government type",
        "what is the type of government of {country}?", values.phrase, changes.same_phrase,
    ),
    _field(
        "capital", "Capital of {country}", _GOVERNMENT, "Government/Capital/name",
        "what is the capital of {country}?", values.place, changes.same_phrase,
    ),
    _field(
        "national_holiday", "National holiday of {country}", _GOVERNMENT, "Government/National holiday",
        "on which day of the year is the national holiday of {country}?", values.holiday, changes.same_key,
    ),
    _field(
        "long_name", "Long name of {country}", _GOVERNMENT, "Government/Country name/conventional long form",
        "what is the long form of the name of {country}?", values.phrase, changes.same_phrase,
    ),
    _field(
        "mission_in_us", "Chief of mission of {country} in the US", _GOVERNMENT,
        f"Government/Diplomatic representation in the US/{_MISSION}",
        "who is the chief of mission of {country} in the United States?", values.person, changes.same_person,
    ),
    _field(
        "us_mission", "US chief of mission in {country}", _GOVERNMENT,
        f"Government/Diplomatic representation from the US/{_MISSION}",
        "who is the US chief of mission in {country}?", values.person, changes.same_person,
    ),
    _field(
        "voting_age", "Suffrage in {country}", _GOVERNMENT, "Government/Suffrage",
        "from which age may people vote in {country}?", values.age, changes.same_key,
    ),
    _field(
        "population", "Population of {country}", _PEOPLE, f"{_SOCIETY}/Population/total|{_SOCIETY}/Population",
        "what is the population of {country}?", values.number(), changes.same_number,
    ),
    _field(
        "official_languages", "Languages of {country}", _PEOPLE, f"{_SOCIETY}/Languages/Languages|{_SOCIETY}/Languages",
        "what are the official languages of {country}?", values.languages, changes.same_key,
    ),
    _field(
        "median_age", "Median age in {country}", _PEOPLE, f"{_SOCIETY}/Median age/total",
        "what is the median age in {country}, in years?", values.number("years"), changes.same_number,
    ),
    _field(
        "growth_rate", "Population growth rate of {country}", _PEOPLE, f"{_SOCIETY}/Population growth rate",
        "what is the population growth rate of {country}?", values.number(), changes.same_number,
    ),
    _field(
        "fertility_rate", "Total fertility rate of {country}", _PEOPLE,
        f"{_SOCIETY}/Total fertility rate",
        "how many children are born per woman in {country}?",
        values.number("children born/woman"), changes.same_number,
    ),
    _field(
        "life_expectancy", "Life expectancy at birth in {country}", _PEOPLE,
        f"{_SOCIETY}/Life expectancy at birth/total population",
        "what is the life expectancy at birth in {country}, in years?", values.number("years"), changes.same_number,
    ),
    _field(
        "urban_population", "Urban population of {country}", _PEOPLE, f"{_SOCIETY}/Urbanization/urban population",
        "what share of the population of {country} lives in cities?", values.number(), changes.same_number,
    ),
    _field(
        "exports_partner", "Export partners of {country}", _ECONOMY, "Economy/Exports - partners",
        "which country is the first export partner of {country}?", values.partner, changes.same_key,
    ),
    _field(
        "imports_partner", "Import partners of {country}", _ECONOMY, "Economy/Imports - partners",
        "which country is the first import partner of {country}?", values.partner, changes.same_key,
    ),
    _field(
        "unemployment", "Unemployment rate of {country}", _ECONOMY,
        "Economy/Unemployment rate/*|Economy/Unemployment rate",
        "what is the newest unemployment rate of {country}?", values.number(), changes.same_number,
    ),
    _field(
        "inflation", "Inflation rate of {country}", _ECONOMY,
        "Economy/Inflation rate (consumer prices)/*|Economy/Inflation rate (consumer prices)",
        "what is the newest inflation rate of {country}?", values.number(), changes.same_number,
    ),
    _field(
        "gdp", "GDP of {country} at the official exchange rate", _ECONOMY, "Economy/GDP (official exchange rate)",
        "what is the GDP of {country} at the official exchange rate?", values.number(), changes.same_number,
    ),
    _field(
        "currency", "Exchange rates of {country}", _ECONOMY, "Economy/Exchange rates/Currency|Economy/Exchange rates",
        "what is the currency of {country}?", values.currency, changes.same_currency,
    ),
    _field(
        "area", "Total area of {country}", _LAND, "Geography/Area/total",
        "what is the total area of {country}, in square kilometres?", values.number("sq km"), changes.same_extent,
    ),
    _field(
        "coastline", "Coastline of {country}", _LAND, "Geography/Coastline",
        "how long is the coastline of {country}, in kilometres?", values.number("km"), changes.same_extent,
    ),
    _field(
        "internet_code", "Internet country code of {country}", _LAND, "Communications/Internet country code",
        "what is the Internet country code of {country}?", values.internet_code, changes.same_key,
    ),
    _field(
        "internet_users", "Internet users in {country}", _LAND, "Communications/Internet users/percent of population",
        "what share of the population of {country} uses the Internet?", values.number(), changes.same_number,
    ),
)  # fmt: skip
NAMES: tuple[Path, ...] = (
    ("Government", "Country name", "conventional short form"),
    ("Government", "Country name", "conventional long form"),
)
