"""Names of the generated world: people, and which period may use which.

Every full name is a pair (first, last). The sum of the two indices modulo five decides who may use
it: one of the four periods or, fifth, people who are only mentioned. So full names of different periods are
disjoint for every seed, while each first name and each last name recurs in all of them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

FEMALE_NAMES = (
    "Ada Agnes Alice Amelia Amina Anna Astrid Aurora Beatrice Bella Bridget Camila Carmen Cecilia Celia "
    "Chloe Clara Daphne Diana Dora Edith Elena Elisa Ella Elsa Emma Esther Eva Fatima Fiona Flora Freya "
    "Gemma Gloria Grace Greta Hanna Harriet Hazel Helen Ida Imani Ingrid Irene Iris Isabel Ivy Jane "
    "Jasmine Joan Judith Julia Karen Kira Laura Leila Lena Lily Linda Lucia Lydia Mabel Maria Martha Maya "
    "Mina Miriam Nadia Naomi Nina Nora Olga Olivia Paula Petra Priya Rachel Rita Rosa Ruth Sara Selma "
    "Sonia Stella Tamara Teresa Tina Ursula Vera Yara"
).split()
MALE_NAMES = (
    "Aaron Abel Adam Adrian Ahmed Alan Albert Amir Andre Anton Arthur Axel Ben Boris Bruno Carl Caspar "
    "Cedric Cyrus Daniel David Dennis Diego Dmitri Edgar Edwin Elias Emil Eric Ernest Ethan Felix Finn "
    "Frank Gabriel George Gilbert Gustav Hamid Harold Hector Henry Hugo Ian Isaac Ivan Jacob James Jasper "
    "Joel Jonas Joseph Julian Kai Karim Kevin Lars Leo Liam Louis Lucas Magnus Marco Martin Max Miles "
    "Milo Nathan Nils Noah Omar Oscar Otto Pablo Patrick Paul Peter Quentin Rafael Ralph Ravi Robert "
    "Roman Samuel Simon Stefan Theo Thomas Victor Walter"
).split()
FIRST_NAMES = (*FEMALE_NAMES, *MALE_NAMES)
LAST_NAMES = tuple(
    start + end
    for start in ("Al Bar Cas Dan El Far Gal Har Is Jor Kar Lam Mar Nol Or Pav Quin Ros Sal Tal Ul Var Wal Zan").split()
    for end in (
        "bert brook combe dale den dini dova fels gren holm ikson kova lane lund mann mere nard oway quist "
        "ridge sen stein tari vik wood"
    ).split()
)
NUM_SHARES = 5
MENTIONED_SHARE = 4


@dataclass(frozen=True, slots=True)
class Name:
    """A full name with its two halves."""

    full: str
    first: str
    last: str

    @property
    def pronoun(self) -> str:
        """Return she or he."""
        return "she" if self.first in FEMALE_NAMES else "he"

    @property
    def possessive(self) -> str:
        """Return her or his."""
        return {"she": "her", "he": "his"}[self.pronoun]

    @property
    def courtesy(self) -> str:
        """Return `Ms Last` or `Mr Last`."""
        return {"she": f"Ms {self.last}", "he": f"Mr {self.last}"}[self.pronoun]


def person(first_index: int, last_index: int) -> Name:
    """Return the person with these two name indices."""
    first, last = FIRST_NAMES[first_index], LAST_NAMES[last_index]
    return Name(full=f"{first} {last}", first=first, last=last)


def names_of_share(share: int) -> list[Name]:
    """List every name that belongs to one share (a period's index, or `MENTIONED_SHARE`)."""
    return list(_names_of_share(share))


@functools.cache
def _names_of_share(share: int) -> tuple[Name, ...]:
    pairs = ((first, last) for first in range(len(FIRST_NAMES)) for last in range(len(LAST_NAMES)))
    return tuple(person(first, last) for first, last in pairs if (first + last) % NUM_SHARES == share)
