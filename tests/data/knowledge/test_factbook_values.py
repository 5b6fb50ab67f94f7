"""What a text of the World Factbook says: one case for each form that its editions have."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from cmt_cli.data.knowledge import factbook_values as values
from cmt_cli.data.knowledge.factbook_cleaning import MAX_TEXT, Tally, plain, without_brackets
from cmt_cli.data.knowledge.factbook_profiles import country_name
from cmt_cli.data.knowledge.factbook_values import NONE, UNCLEAR


def tally() -> Tally:
    return Counter()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Chancellor Angela MERKEL (since 22 November 2005)", "Angela MERKEL"),
        ("Prime Minister Ann Lee O'DAY (since 2015); note - Prime Minister Bo ROE resigned in May", "Ann Lee O'DAY"),
        ("King CHARLES III (since 8 September 2022); represented by Governor Nigel DAKIN (since 2019)", "CHARLES III"),
        ("King WILLEM of the Lowlands (since 30 April 2013)", "WILLEM"),
        (
            "President of the National Council for the Safeguard of the Homeland (CNSP) General Abdou TIANI",
            "Abdou TIANI",
        ),
        ("President of the Government of Spain (Prime Minister-equivalent) Pedro PEREZ", "Pedro PEREZ"),
        ("GNU Interim Prime Minister Abd-al-Hamid DUBAYBAH", "Abd-al-Hamid DUBAYBAH"),
        ("Speaker of the House of Representatives Aqilah Salah ISSA (since 5 August 2014)", "Aqilah Salah ISSA"),
        ("Prime Minister, State Council Chair, Sr. Gen. MIN AUNG HLAING", "MIN AUNG HLAING"),
        ("Ambassador Richard Duke BUCHAN III (since 18 January 2018)", "Richard Duke BUCHAN III"),
        ("Reema Bint Bandar Bin Sultan&nbsp;AL SAUD", "Reema Bint Bandar Bin Sultan AL SAUD"),
        ("Ambassador Yusif bin Said al-UTAYBA (since 28 July 2008)", "Yusif bin Said al-UTAYBA"),
        ("Governor General Dr. Sir Patrick L. ALLEN", "Patrick L. ALLEN"),
        ("President Emmanuel MACRON (since 14 May 2017), represented by Prefect Vincent BERTON", "Emmanuel MACRON"),
        ("Ambassador Harry K. THOMAS, Jr. (since 2016)", "Harry K. THOMAS, Jr."),
        ("President Taur RUAK, aka Jose VASCONCELOS (since 20 May 2012)", "Taur RUAK"),
        ("<p>Premier Andr&eacute; EBANKS<br>(since 6 May 2025)</p>", "André EBANKS"),
        ("co-chiefs of state Captain Regent Ann ROE and Captain Regent Bo LEE", UNCLEAR),
        ("the US does not have an embassy in Ruritania", UNCLEAR),
        ("President Milos Vucevic (since 2 May 2024)", UNCLEAR),
        ("Ambassador (vacant); Charg&eacute; d'Affaires Ann ROE (since May 2025)", NONE),
        ("President Abdul RASHID (since 13 October 2022; vice presidents (vacant)", "Abdul RASHID"),
        ("none", NONE),
        ("", UNCLEAR),
    ],
)
def test_a_person_is_read_without_titles_and_dates(text: str, name: object) -> None:
    found = values.person(text, tally())
    assert found == name if found.value is None else found.value.answers == (name,)


@pytest.mark.parametrize(
    ("text", "answers", "year"),
    [
        ("80,854,408 (July 2015 est.)", ("80,854,408", "80,854,408 years"), "2015"),
        ("-0.26% (2024 est.)", ("-0.26%", "-0.26% years"), "2024"),
        ("$2.372 billion (2010 est.)", ("$2.372 billion", "$2.372 billion years"), "2010"),
        ("ca. 7.75 sq km", ("7.75", "7.75 years"), ""),
        ("15.4% (2016 est.) ++ 15.2% (2015 est.)", ("15.4%", "15.4% years"), "2016"),
        ("less than 5 sq km", None, ""),
        ("NA%", None, ""),
        ("Caribbean Sea 669 km; Gulf 163 km", None, ""),
    ],
)
def test_a_number_begins_its_text(text: str, answers: tuple[str, ...] | None, year: str) -> None:
    found = values.number("years")(text, tally()).value
    assert (None if found is None else found.answers) == answers
    assert found is None or found.detail == year


def test_a_partner_is_accepted_under_its_other_names() -> None:
    found = values.partner("USA 21%, India 13% (2023)", tally()).value
    assert found is not None and found.answers == ("USA", "US", "United States")
    assert values.partner("almost entirely Freedonia", tally()) == UNCLEAR


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("German (official)", "German"),
        ("French (official), Arabic (official), Sara (in south), more than 120 others", "French, Arabic"),
        ("Sinhala (official and national language) 74%, Tamil 18%, other 8%", "Sinhala"),
        ("English only (official) 78.2%, Spanish 13.4% (2017 est.)", "English"),
        ("English, Spanish", None),
        ("Danish (official minority language), Faroese", None),
    ],
)
def test_languages_are_those_that_are_called_official(text: str, answer: str | None) -> None:
    found = values.languages(text, tally()).value
    assert (None if found is None else found.answers[0]) == answer


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("German Unity Day, 3 October (1990)", "3 October"),
        ("National Day, June 21", "21 June"),
        ("Independence Day, 28-29 July (1821)", "28 July"),
        ("Constitution Day, first Monday in August", None),
    ],
)
def test_a_holiday_is_a_day_of_the_year(text: str, day: str | None) -> None:
    found = values.holiday(text, tally()).value
    assert (None if found is None else found.answers[0]) == day


def test_small_fields_have_their_forms() -> None:
    def first(found: values.Stated) -> str | None:
        return found.value.answers[0] if found.value else None

    assert first(values.currency("euros (EUR) per US dollar - / 0.885 (2017 est.)", tally())) == "euros"
    assert first(values.currency("<p>the US dollar is used</p>", tally())) == "US dollar"
    assert first(values.age("18 years of age; universal", tally())) == "18"
    assert first(values.internet_code(".psnote - same as Gaza Strip", tally())) == ".ps"
    assert first(values.place("Chisinau in Romanian (Kishinev in Russian)", tally())) == "Chisinau"
    assert first(values.place("Melekeok; note - the seat moved", tally())) == "Melekeok"
    assert first(values.place("Gitega (political capital), Bujumbura (commercial capital)", tally())) == "Gitega"
    assert first(values.place("Washington, DC", tally())) == "Washington, DC"
    assert first(values.place("administered from London", tally())) is None
    assert values.phrase("none", tally()) == NONE


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Bahamas, The", "the Bahamas"),
        ("Korea, North", "North Korea"),
        ("Congo, Democratic Republic of the", "the Democratic Republic of the Congo"),
        ("Turkey (Turkiye)", "Turkey"),
        ("United Kingdom", "the United Kingdom"),
        ("none", ""),
    ],
)
def test_a_country_is_named_as_in_a_sentence(text: str, name: str) -> None:
    assert country_name(text, tally()) == name


def test_each_rule_that_changes_a_text_is_counted() -> None:
    counted = tally()
    assert plain("<b>Ann&nbsp;ROE</b>", counted) == "Ann ROE"
    assert without_brackets("Ann ROE (since 2015", counted) == "Ann ROE"
    without_brackets("Ann ROE", counted)
    assert counted == {"HTML tags removed": 1, "HTML entities read": 1, "brackets removed": 1}


@pytest.mark.parametrize("text", ["(" * MAX_TEXT, "(1999 " * (MAX_TEXT // 6), "note " * (MAX_TEXT // 5), "a " * 2000])
def test_rules_end_soon_on_odd_texts(text: str) -> None:
    start = time.process_time()
    for read in (values.person, values.phrase, values.number(), values.partner, values.languages, values.currency):
        read(text, tally())
    assert time.process_time() - start < 5
