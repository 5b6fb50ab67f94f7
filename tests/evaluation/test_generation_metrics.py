"""Scores of longer texts, by hand and against rouge-score 0.1.2, RapidFuzz and the SARI of Hugging Face's evaluate."""

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from cmt_cli.evaluation.generation_metrics import edit_similarity, rouge_l, rouge_l_summary, rouge_signature, sari


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("The harbor was closed in May.", "The old harbor closed in May 2019.", 10 / 13),  # lcs 5, lengths 6 and 7
        ("ran ran ran", "ran away ran", 2 / 3),
        ("May closed harbor", "harbor closed May", 1 / 3),  # order counts
        ("x", "y z", 0.0),
        ("", "y z", 0.0),
        ("Größe", "größe", 1.0),  # rouge-score, which knows ASCII only, sees two words here
        ("The harbors closed quickly", "the harbor closes quick", 3 / 4),  # the stem of quickly is quickli
        ("东京都", "东京", 4 / 5),
        ("कि", "का", 0.0),  # differ in a vowel, which is a combining mark
        ("मैं किताब पढ़ता", "मैं किताब पढ़ती", 2 / 3),
        ("ม้า", "มา", 4 / 5),  # three characters, one of them a tone, and two
        ("cafe\u0301 noir", "cafe noir", 1 / 2),  # an accent of its own
        ("", "", 0.0),
    ],
)
def test_rouge_l_is_f1_of_the_longest_common_subsequence(prediction: str, reference: str, expected: float) -> None:
    assert rouge_l(prediction, [reference]) == pytest.approx(expected)


def test_rouge_l_of_ascii_text_is_rouge_scores() -> None:
    vocabulary = [
        "Meetings",
        "meeting",
        "don't",
        "agreed_on",
        "3.5",
        "dies",
        "was",
        "skies",
        "happily",
        "Happy,",
        "a-b",
    ]
    theirs, draw = RougeScorer(["rougeL"], use_stemmer=True), random.Random(0)
    for _ in range(200):
        said, wanted = (" ".join(draw.choices(vocabulary, k=draw.randint(1, 12))) for _ in range(2))
        assert rouge_l(said, [wanted]) == pytest.approx(theirs.score(wanted, said)["rougeL"].fmeasure, abs=1e-12)


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),  # numbers of rouge 1.0.1 with the reference as its hypothesis, as in TRACE
    [
        (
            "the council adopted a budget on monday. Two members were absent",
            "The council adopted the budget. Two members were absent.",
            0.69999999505,
        ),
        ("b a d c. a e f. g", "a b c d. e f a", 0.6153846104),
        (
            "one two two three",
            "one one two",
            0.7999999952,
        ),  # of 3 and 2 different words 2 are common
        (
            "A resolution to name the bridge. It passed 5 to 2.",
            "A resolution naming the bridge.  . It passed 5 to 2.",
            0.8571428522,
        ),
        ("p q", "x y", 0.0),
    ],
)
def test_summaries_are_scored_as_by_trace(prediction: str, reference: str, expected: float) -> None:
    assert rouge_l_summary(prediction, [reference]) == pytest.approx(expected, abs=1e-8)
    assert rouge_l_summary(prediction, ["x.", reference]) >= expected - 1e-8


def test_text_without_a_sentence_has_no_common_words() -> None:
    assert rouge_l_summary("", ["a b."]) == rouge_l_summary("...", ["a b."]) == 0.0


def test_the_signature_tells_the_stemmer_and_the_tokens() -> None:
    assert rouge_signature(["the old harbor"]).startswith("stem:porter|tok:word|rouge-score:0.1")
    assert "|tok:char|" in rouge_signature(["东京", "大阪城公園 city"])


def test_the_best_reference_counts() -> None:
    assert rouge_l("the old harbor", ["a quay", "the old harbor"]) == 1.0
    assert edit_similarity("abc", ["xyz", "abd"]) == pytest.approx(4 / 6)


def test_edit_similarity_is_the_fuzzy_ratio_of_characters() -> None:
    # "return self." is kept of 13 and of 16 characters; fuzz.ratio gives 82.7586
    assert edit_similarity("return self.x", ["return self.name"]) == pytest.approx(24 / 29)
    assert edit_similarity("", [""]) == 0.0  # as in TRACE
    assert edit_similarity("x = 1", ["x = 1"]) == 1.0


SOURCE = "About 95 species are currently accepted ."
REFERENCES = [
    "About 95 species are currently known .",
    "About 95 species are now accepted .",
    "95 species are now accepted .",
]


def test_sari_equals_the_numbers_of_evaluate() -> None:
    assert sari(SOURCE, "About 95 you now get in .", REFERENCES) == pytest.approx(0.2695360195360195)
    assert sari(SOURCE, "About 95 species are now accepted.", REFERENCES) == pytest.approx(0.7829135035656775)
    found = sari("The Cat, which was big, sat.", "The cat sat.", ["The big cat sat."])
    assert found == pytest.approx(0.7671296296296296)


def test_sari_by_hand() -> None:
    # One word each: added "b" as wanted, kept nothing as wanted, deleted "a" as wanted; longer n-grams are 0/0 = 1.
    assert sari("a", "b", ["b"]) == 1.0
    # Of one word, keeping it where it was to go: add recall 0, keep precision 0, delete 0/0 = 1.
    assert sari("a", "a", ["b"]) == pytest.approx(((0 + 0 + 1) / 3 + 3) / 4)
