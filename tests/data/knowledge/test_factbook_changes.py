"""Changes of facts between editions, which differences of strings are not."""

from __future__ import annotations

from collections import Counter

import pytest

from cmt_cli.data.knowledge import factbook_changes as changes
from cmt_cli.data.knowledge import factbook_values as values
from cmt_cli.data.knowledge.factbook_changes import Asked, Same, history
from cmt_cli.data.knowledge.factbook_values import Reader

PERSON = (values.person, changes.same_person)
NUMBER = (values.number(), changes.same_number)
PHRASE = (values.phrase, changes.same_phrase)
AREA = (values.number("sq km"), changes.same_extent)
HOLIDAY = (values.holiday, changes.same_key)
MONEY = (values.currency, changes.same_currency)
PARTNER = (values.partner, changes.same_key)


@pytest.mark.parametrize(
    ("kind", "before", "now", "rule"),
    [
        (PERSON, "President Ann ROE (since 2 May 2012)", "Ann ROE", ""),
        (PERSON, "Queen ANNE II", "King BERT I", None),
        (PERSON, "President José RAMOS", "President Jose RAMOS", ""),
        (PERSON, "Premier Mikhail MISHUSTIN", "Premier Mikhail V. MISHUSTIN", "parts of the name left out"),
        (PERSON, "President Nicos ANASTASIADES (since 2013)", "President Nikos ANASTASIADIS", "spelling"),
        (
            PERSON,
            "Amir FAYE (since 3 August 2015)",
            "Sheikh Omar FAYE (since 3 August 2015)",
            "parts of the name left out",
        ),
        (PERSON, "Ann Li ROE (since 1 May 2015)", "Anna ROE (since 1 May 2015)", "same date of office"),
        (PERSON, "Ann Li ROE (since 1 May 2015)", "Bert ROE (since 4 June 2019)", None),
        (NUMBER, "8.3% (2015 est.)", "8.30% (2017 est.)", ""),
        (NUMBER, "24.66% (2023 est.)", "24.7% (2023 est.)", "rounded otherwise"),
        (NUMBER, "24.66% (2023 est.)", "24.7% (2024 est.)", None),
        (NUMBER, "24.66%", "24.7%", None),
        (NUMBER, "$1.2 billion (2023 est.)", "$1.2 million (2023 est.)", None),
        (AREA, "6.5 sq km", "7 sq km", "rounded otherwise"),
        (AREA, "14 million sq km", "14.2 million sq km", "rounded otherwise"),
        (AREA, "697 sq km", "719 sq km", None),
        (PHRASE, "republic", "presidential republic", "parts of the name left out"),
        (PHRASE, "monarchy; a realm", "realm of the crown; monarchy", "named among others"),
        (PHRASE, "monarchy", "military regime", None),
        (HOLIDAY, "First Day, 1 August; Second Day, 6 August", "Second Day, 6 August", "named among others"),
        (HOLIDAY, "Birthday of A, 5 December", "Birthday of B, 28 July", None),
        (MONEY, "kuna (HRK) per US dollar -", "euros (EUR) per US dollar -", None),
        (MONEY, "euros (EUR) per US dollar -", "euro (EUR) per US dollar -", "same code"),
        (PARTNER, "US 20.8%, Australia 14.9%", "United States 29%, Japan 6%", ""),
    ],
)
def test_two_texts_state_one_fact_or_two(kind: tuple[Reader, Same], before: str, now: str, rule: str | None) -> None:
    read, same = kind
    a, b = read(before, Counter()).value, read(now, Counter()).value
    assert a is not None and b is not None
    assert same(a, b) == rule
    assert (same(b, a) is None) == (rule is None)


def histories(*texts: str | None) -> tuple[list[Asked | None], Counter[str]]:
    tally: Counter[str] = Counter()
    stated = [None if text is None else (text, values.person(text, Counter())) for text in texts]
    return history(stated, changes.same_person, tally), tally


def test_a_fact_is_new_unchanged_changed_and_gone() -> None:
    found, tally = histories("Ann ROE", "President Ann ROE", "Bo LEE", "President (vacant)", "Cy DEE", "Cy DEE")
    assert found == [
        Asked(("Ann ROE",), "new", ()),
        Asked(("Ann ROE",), "unchanged", ()),
        Asked(("Bo LEE",), "changed", ("Ann ROE",)),
        Asked((), "gone", ("Bo LEE", "Ann ROE")),
        Asked(("Cy DEE",), "changed", ("Bo LEE", "Ann ROE")),
        Asked(("Cy DEE",), "unchanged", ("Bo LEE", "Ann ROE")),
    ]
    assert tally == {"no change: other wording around it": 1, "changed facts": 1, "equal strings": 1}


def test_an_edition_without_a_fact_changes_nothing() -> None:
    found, _ = histories(None, "Ann ROE", None, "the people rule", "Ann ROE", "Bo LEE")
    assert [None if fact is None else fact.change for fact in found] == [
        None,
        "new",
        None,
        None,
        "unchanged",
        "changed",
    ]


def test_an_answer_right_again_is_no_earlier_one() -> None:
    found, _ = histories("Ann ROE", "Bo LEE", "Ann ROE")
    assert found[2] == Asked(("Ann ROE",), "changed", ("Bo LEE",))


def test_nothing_is_gone_that_never_was() -> None:
    found, _ = histories("none", "President (vacant)", "Ann ROE")
    assert found[:2] == [None, None] and found[2] is not None and found[2].change == "new"
