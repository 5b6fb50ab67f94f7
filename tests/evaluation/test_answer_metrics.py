import pytest

from cmt_cli.evaluation.answer_metrics import em_prefix, exact_match, f1_shortest, normalize, shortest, token_f1


def test_normalization_drops_case_punctuation_articles_and_spaces() -> None:
    assert normalize("  The  U.S.  Senate, an\thour! ") == "us senate hour"
    assert normalize("theatre") == "theatre"
    assert normalize("The") == ""


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("The Paris.", ["paris"], 1.0),
        ("Paris, France", ["Paris"], 0.0),
        ("10", ["ten", "10"], 1.0),
        ("", ["Paris"], 0.0),
        ("35", ["3.5"], 0.0),
        ("4", ["-4"], 0.0),
        ("-4", ["\u22124"], 1.0),
        ("12", ["1/2"], 0.0),
        ("5", [".5"], 0.0),
        ("35m", ["3.5m"], 0.0),
        ("35", ["3,5"], 0.0),
        ("1000", ["1,000"], 1.0),
        ("$3.50.", ["3.50"], 1.0),
        ("4", ["-$4"], 0.0),
        ("-$4", ["\u2212$4"], 1.0),
        ("1230", ["12:30"], 0.0),
        ("31", ["3:1"], 0.0),
        ("210", ["2^10"], 0.0),
        ("1e5", ["1e-5"], 0.0),
        ("1e+5", ["1E5"], 1.0),
        ("17 Q3", ["17: Q3"], 1.0),
        ("in 1914-18", ["in 191418"], 1.0),  # a dash between numbers is no sign
        ("covid-19", ["COVID19"], 1.0),
        ("", ["A"], 0.0),
        ("the", ["A"], 0.0),
        ("a", ["A"], 1.0),
        ("", ["The", "!"], 0.0),
        ("!", ["!"], 1.0),
    ],
)
def test_exact_match_takes_the_best_reference(prediction: str, references: list[str], expected: float) -> None:
    assert exact_match(prediction, references) == expected


def test_the_prefix_variant_counts_longer_answers() -> None:
    assert em_prefix("100 people", ["10"]) == 1.0
    assert em_prefix("10", ["100 people"]) == 0.0
    # only the shortest reference counts
    assert em_prefix("Barack Obama", ["Barack Obama", "Obama"]) == 0.0


def test_token_f1_by_hand() -> None:
    # 2 shared tokens of 3 predicted and 4 in the reference: precision 2/3, recall 2/4, F1 = 4/7
    assert token_f1("mayor of Turin", ["mayor of old Lagos"]) == pytest.approx(4 / 7)
    # repeated tokens count as often as both have them
    assert token_f1("no no no", ["no no yes"]) == pytest.approx(2 / 3)
    assert token_f1("Turin", ["Lagos", "Turin", "city of Turin"]) == 1.0
    assert token_f1("", ["Turin"]) == 0.0
    assert token_f1("the", ["The"]) == 1.0
    assert (
        token_f1("", ["The"])
        == token_f1("a", ["The"])
        == f1_shortest("", ["A"])
        == em_prefix("anything", ["The"])
        == 0.0
    )


def test_the_shortest_reference_is_the_first_of_the_shortest() -> None:
    assert shortest(["Barack Obama", "Obama", "Baraq"]) == "Obama"
    assert f1_shortest("Barack Obama", ["Barack Obama", "Obama"]) == pytest.approx(2 / 3)


def test_scripts_without_spaces_are_compared_by_characters() -> None:
    assert token_f1("东京都", ["东京"]) == pytest.approx(4 / 5)
    assert token_f1("กรุงเทพ", ["กรุง"]) == pytest.approx(2 * 4 / (7 + 4))
    assert token_f1("2019年 Tokyo", ["2019年"]) == pytest.approx(4 / 5)
    assert token_f1("서울 시", ["서울 역"]) == pytest.approx(1 / 2)  # Korean has spaces
    assert exact_match("「東京。」", ["東京"]) == 1.0
